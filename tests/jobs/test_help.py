"""--help of every job says what it takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

JOBS = {path.stem for path in (Path(__file__).parents[2] / "jobs").glob("*.py")}

MENTIONED = {
    "sweep": ["FILE", "--set", "--address", "--dry-run", "--json", "training.epochs=3"],
    "profile": ["--method", "--dataset", "--student-widths", "--teacher-widths", "--json"],
    "choose": ["SWEEP", "--max-params", "--max-flops", "--tracking-uri", "--json", "champion"],
    "download": ["MODEL", "DEST", "--tracking-uri", "--json", "NAME@alias", "NAME/version"],
    "score": ["PACKAGE", "IMAGES", "--data", "--unreadable", "--json", "threshold"],
}
REQUIRED = {
    "sweep": "FILE",
    "profile": "--dataset",
    "choose": "SWEEP",
    "download": "MODEL",
    "score": "PACKAGE",
}


def test_every_job_is_tested_here() -> None:
    assert MENTIONED.keys() >= JOBS >= REQUIRED.keys()


@pytest.mark.parametrize("name", MENTIONED)
def test_help_mentions_every_argument(job: Callable[..., Any], name: str) -> None:
    ended = job(name, "--help")
    assert ended.exit_code == 0
    for word in MENTIONED[name]:
        assert word.lower() in ended.stdout.lower(), word


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_argument_is_named(job: Callable[..., Any], name: str) -> None:
    ended = job(name)
    assert ended.exit_code == 2
    assert REQUIRED[name].lower() in ended.stderr.lower()
    assert ended.stdout == ""
