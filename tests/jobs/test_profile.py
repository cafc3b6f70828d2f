"""jobs/profile.py: the papers' golden numbers, and clear words about mistakes."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

TEACHERS = {3: (5_123_712, 56_008_704), 1: (5_117_568, 54_435_840)}
STUDENTS = {
    "cifar10": (3, 843_408, 2_285_568, 6.075, 24.505),
    "mnist": (1, 100_404, 177_408, 50.97, 306.84),
    "fmnist": (1, 49_722, 76_416, 102.924, 712.362),
}
"""channels, params, FLOPs and the ratios to the teacher: docs/adr/0001"""


def counts(cost: dict[str, float]) -> tuple[float, float]:
    return cost["params"], cost["flops"]


@pytest.mark.parametrize("dataset", STUDENTS)
def test_golden_numbers(job: Callable[..., Any], dataset: str) -> None:
    ended = job("profile", "--method", "pkdgan", "--dataset", dataset, "--json")
    assert ended.exit_code == 0
    answer = ended.answer
    channels, params, flops, params_ratio, flops_ratio = STUDENTS[dataset]
    teacher_params, teacher_flops = TEACHERS[channels]
    assert counts(answer["teacher"]) == (teacher_params, teacher_flops)
    assert counts(answer["student"]) == counts(answer["deployed"]) == (params, flops)
    assert counts(answer["ratio"]) == (teacher_params / params, teacher_flops / flops)
    assert 0 < answer["deployed"]["latency_ms"] < answer["teacher"]["latency_ms"]
    assert answer["ratio"]["params"] == pytest.approx(params_ratio, rel=1e-4)
    assert answer["ratio"]["flops"] == pytest.approx(flops_ratio, rel=1e-4)


def test_widths_can_be_given(job: Callable[..., Any]) -> None:
    given = job("profile", "--dataset", "mnist", "--student-widths", "1,2,4", "--json").answer
    assert counts(given["student"]) == (49_722, 76_416)
    both = job(
        *("profile", "--dataset", "mnist", "--json"),
        *("--teacher-widths", "2, 4, 8", "--student-widths", "1,2,4"),
    ).answer
    assert counts(both["teacher"]) == (100_404, 177_408)


def test_for_a_person_it_is_a_table(job: Callable[..., Any]) -> None:
    ended = job("profile", "--dataset", "cifar10")
    assert ended.exit_code == 0
    assert "pkdgan on cifar10, student 8-16-64" in ended.stdout
    for number in ("5,123,712", "56,008,704", "843,408", "2,285,568", "6.08", "24.51"):
        assert number in ended.stdout, number


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mnits"], "no dataset 'mnits'"),
        (["--dataset", "mnits"], "did you mean mnist?"),
        (["--dataset", "mnist", "--method", "pkdgn"], "--method pkdgn is none of pkdgan"),
        (["--dataset", "mnist", "--method", "pkdgn"], "did you mean pkdgan?"),
        (
            ["--dataset", "mnist", "--student-widths", "1,2"],
            "--student-widths 1,2: expected three positive whole numbers, such as 8,16,64",
        ),
        (["--dataset", "mnist", "--student-widths", "1,2,x"], "--student-widths 1,2,x: expected"),
        (["--dataset", "mnist", "--student-widths", "1,2,0"], "--student-widths 1,2,0: expected"),
        (
            ["--dataset", "mnist", "--placement", "eca"],
            "--placement eca: is no option of --method pkdgan",
        ),
        (
            ["--dataset", "mnist", "--method", "eca_mkdad", "--teacher-widths", "1,2,3"],
            "--teacher-widths 1,2,3: is no option of --method eca_mkdad",
        ),
        (["--dataset", "mnist", "--teacher-widths", "1,2,3,4"], "--teacher-widths 1,2,3,4: exp"),
    ],
)
def test_a_mistake_ends_with_2_and_a_message(
    job: Callable[..., Any], arguments: list[str], message: str
) -> None:
    ended = job("profile", *arguments, "--json")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr


def test_as_a_program_from_anywhere(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "jobs/profile.py", "--dataset", "fmnist", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert counts(json.loads(ended.stdout)["student"]) == (49_722, 76_416)


@pytest.mark.parametrize("name", ["choose", "download", "profile", "score", "sweep"])
def test_no_job_puts_its_folder_before_the_library(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """torch imports cProfile, which imports profile: that must not be jobs/profile.py."""
    jobs = str(ROOT / "jobs")
    monkeypatch.setattr(sys, "path", [jobs, *sys.path])
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(f"{jobs}/{name}.py", run_name="__main__")
    assert ended.value.code == 0
    assert jobs not in sys.path
