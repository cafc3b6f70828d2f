"""jobs/profile.py for ECA_MKDAD: the paper's golden numbers, and clear words about mistakes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

TEACHER = 14_714_688


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_golden_numbers(job: Callable[..., Any]) -> None:
    """Table 6 of the paper: a batch of 32 images of 128 x 128."""
    ended = job(
        *("profile", "--method", "eca_mkdad", "--dataset", "mvtec", "--batch", "32", "--json")
    )
    assert ended.exit_code == 0
    answer = ended.answer
    counted = {
        name: (answer[name]["params"], answer[name]["flops"])
        for name in ("student", "teacher", "deployed")
    }
    assert counted == {
        "student": (346_856, 7_384_543_232),
        "teacher": (TEACHER, 160_356_630_528),
        "deployed": (346_856 + TEACHER, 7_384_543_232 + 160_356_630_528),
    }
    for name in ("params", "flops", "latency_ms"):
        ratio = answer["teacher"][name] / answer["student"][name]
        assert answer["ratio"][name] == pytest.approx(ratio)
    assert answer["deployed"]["latency_ms"] > answer["student"]["latency_ms"] > 0


@pytest.mark.parametrize(
    ("placement", "width", "params"),
    [
        ("mkdad", "lightweight", 346_832),
        ("eca", "lightweight", 346_856),
        ("eca-all", "lightweight", 346_879),
        ("eca-null", "lightweight", 346_856),
        ("se", "lightweight", 347_088),
        ("scse", "lightweight", 347_216),
        ("eca", "full", 14_718_950),
    ],
)
def test_parameters_of_every_placement(
    job: Callable[..., Any], placement: str, width: str, params: int
) -> None:
    answer = job(
        *("profile", "--method", "eca_mkdad", "--dataset", "mvtec", "--image-size", "32"),
        *("--placement", placement, "--student-widths", width, "--json"),
    ).answer
    assert answer["student"]["params"] == params
    assert answer["deployed"]["params"] == params + TEACHER
    assert answer["teacher"]["flops"] == 160_356_630_528 // 32 // 16


def test_for_a_person_it_is_a_table(job: Callable[..., Any]) -> None:
    ended = job("profile", "--method", "eca_mkdad", "--dataset", "fmnist")
    assert ended.exit_code == 0
    said = " ".join(ended.stdout.split())
    assert "eca_mkdad on fmnist, student eca lightweight, batch 1 x 32 x 32" in said
    for text in ("346,856", "14,714,688", "15,061,544", "327,619,840", "deployed", "42.42"):
        assert text in ended.stdout, text


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--method", "eca_mkda"], ["eca_mkda", "did you mean eca_mkdad?"]),
        (
            ["--method", "eca_mkdad", "--placement", "eca-al"],
            ["--placement: 'eca-al' is no placement", "did you mean eca-all?"],
        ),
        (
            ["--method", "eca_mkdad", "--student-widths", "lightwieght"],
            ["--student-widths lightwieght", "lightweight, full", "did you mean lightweight?"],
        ),
        (["--method", "eca_mkdad", "--student-widths", "8,16,64"], ["lightweight, full"]),
        (
            ["--method", "eca_mkdad", "--image-size", "31"],
            ["--image-size 31: expected at least 32"],
        ),
        (["--method", "eca_mkdad", "--dataset", "mvtc"], ["no dataset 'mvtc'", "mean mvtec?"]),
    ],
)
def test_a_mistake_ends_with_2_and_the_nearest(
    job: Callable[..., Any], arguments: list[str], messages: list[str]
) -> None:
    ended = job("profile", "--dataset", "fmnist", *arguments, "--json")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    for message in messages:
        assert message in ended.stderr
