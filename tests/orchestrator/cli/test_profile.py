"""kd profile: the papers' golden numbers, and clear words about mistakes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

TEACHERS = {3: (5_123_712, 56_008_704), 1: (5_117_568, 54_435_840)}
STUDENTS = {
    "cifar10": (3, 843_408, 2_285_568, 6.075, 24.505),
    "mnist": (1, 100_404, 177_408, 50.97, 306.84),
    "fmnist": (1, 49_722, 76_416, 102.924, 712.362),
}
"""channels, params, FLOPs and the ratios to the teacher: docs/adr/0001"""
VGG16 = 14_714_688
PAPER = "--set=scores=[paper]"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def counts(cost: dict[str, float]) -> tuple[float, float]:
    return cost["params"], cost["flops"]


@pytest.mark.parametrize("dataset", STUDENTS)
def test_golden_numbers_of_pkdgan(kd: Callable[..., Any], dataset: str) -> None:
    ended = kd("profile", "--method", "pkdgan", "--dataset", dataset, PAPER, "--json")
    assert ended.exit_code == 0
    (found,) = ended.answer["detectors"]
    channels, params, flops, params_ratio, flops_ratio = STUDENTS[dataset]
    teacher_params, teacher_flops = TEACHERS[channels]
    assert counts(found["teacher"]) == (teacher_params, teacher_flops)
    assert counts(found["student"]) == counts(found["deployed"]) == (params, flops)
    assert counts(found["ratio"]) == (teacher_params / params, teacher_flops / flops)
    assert 0 < found["deployed"]["latency_us"] < found["teacher"]["latency_us"]
    assert found["ratio"]["params"] == pytest.approx(params_ratio, rel=1e-4)
    assert found["ratio"]["flops"] == pytest.approx(flops_ratio, rel=1e-4)


@pytest.mark.long
def test_golden_numbers_of_eca_mkdad(kd: Callable[..., Any]) -> None:
    """Table 6 of the paper: a batch of 32 images of 128 x 128."""
    ended = kd("profile", "--method", "eca_mkdad", "--dataset", "mvtec", "--batch", "32", "--json")
    assert ended.exit_code == 0
    (found,) = ended.answer["detectors"]
    assert {name: counts(found[name]) for name in ("student", "teacher", "deployed")} == {
        "student": (346_856, 7_384_543_232),
        "teacher": (VGG16, 160_356_630_528),
        "deployed": (346_856 + VGG16, 7_384_543_232 + 160_356_630_528),
    }
    for name in ("params", "flops", "latency_us"):
        assert found["ratio"][name] == found["teacher"][name] / found["student"][name]
    assert found["deployed"]["latency_us"] > found["student"]["latency_us"] > 0


def test_settings_can_be_given(kd: Callable[..., Any]) -> None:
    answer = kd(
        *("profile", "--dataset", "mnist", "--json", "--set", "teacher.widths=[2, 4, 8]"),
        *("--set", "student_widths=[[1, 2, 4], [2, 4, 8]]", PAPER),
    ).answer
    narrow, wide = answer["detectors"]
    assert counts(narrow["student"]) == (49_722, 76_416)
    assert counts(wide["student"]) == counts(wide["teacher"]) == (100_404, 177_408)


def test_a_student_alone_has_no_teacher_to_be_compared_with(kd: Callable[..., Any]) -> None:
    arguments = ("profile", "--dataset", "mnist", "--set", "structures=[alone]", PAPER)
    (found,) = kd(*arguments, "--json").answer["detectors"]
    assert found.keys() == {"axes", "image_size", "student", "deployed"}
    assert "teacher" not in kd(*arguments).stdout.partition("us: one image")[0]


def test_a_row_names_what_shares_its_cost_and_no_weights(kd: Callable[..., Any]) -> None:
    shown = kd(
        *("profile", "--dataset", "mnist", "--set", "student_widths=[[1, 2, 4], [2, 4, 8]]"),
        *("--set", "structures=[alone, kdgan-2]", "--set", "loss_weights=[{}, {k2: 5}]"),
        PAPER,
    ).stdout
    assert [line for line in shown.splitlines() if "32 x 32" in line and "=" in line] == []
    assert "alone/kdgan-2 1-2-4 paper, 32 x 32" in shown
    assert "alone/kdgan-2 2-4-8 paper, 32 x 32" in shown
    assert shown.count("│   teacher") == 2  # of those that have one


def test_for_a_person_it_is_a_table(kd: Callable[..., Any]) -> None:
    ended = kd("profile", "--dataset", "cifar10")
    assert ended.exit_code == 0
    for text in ("pkdgan on cifar10", "kdgan-2 8-16-64", "5,123,712", "56,008,704", "24.51"):
        assert text in ended.stdout, text
    ended = kd("profile", "--method", "eca_mkdad", "--dataset", "fmnist")
    for text in ("eca lightweight 0.01 paper, 32 x 32", "15,061,544", "327,619,840", "42.42"):
        assert text in ended.stdout, text


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--dataset", "mnits"], ["no dataset 'mnits'", "did you mean mnist?"]),
        (["--method", "pkdgn"], ["'pkdgn' is no method", "did you mean pkdgan?"]),
        (["--set", "student_widths=[[1, 2]]"], ["student_widths.0.2 is missing"]),
        (["--set", "student_width=1"], ["student_width is not a setting; did you mean"]),
        (
            ["--method", "eca_mkdad", "--set", "placements=[eca-al]"],
            ["placements: 'eca-al' is no placement", "did you mean eca-all?"],
        ),
        (
            ["--method", "eca_mkdad", "--set", "image_size=31"],
            ["image_size: Input should be greater than or equal to 32, not 31"],
        ),
    ],
)
def test_a_mistake_ends_with_2_and_a_message(
    kd: Callable[..., Any], arguments: list[str], messages: list[str]
) -> None:
    ended = kd("profile", "--dataset", "mnist", *arguments, "--json")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    for message in messages:
        assert message in ended.stderr


@pytest.mark.slow
def test_as_a_program_from_anywhere(tmp_path: Path) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("kd"), "profile", "--dataset", "fmnist", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert counts(json.loads(ended.stdout)["detectors"][0]["student"]) == (49_722, 76_416)
