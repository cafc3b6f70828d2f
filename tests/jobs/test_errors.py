"""Whatever goes wrong ends a job with one line that says what to do."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from kd_models.data import DataError
from orchestrator.cli import in_words
from orchestrator.errors import UserError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("do this"), "do this"),
        (DataError("or that"), "or that"),
        (OSError(errno.ENOSPC, "No space left", "/x"), "OSError: /x: No space left; free some dis"),
        (PermissionError(errno.EACCES, "Denied", "/x"), "/x: Denied; change its permissions"),
        (OSError("odd"), "OSError: odd; put that right, or run it again with --debug"),
        (MlflowException("broken\nat\n  last"), "MlflowException: broken at last; see whether MLf"),
        (RuntimeError("x"), "RuntimeError: x; run it again with --debug to see where it arose"),
        (MemoryError(), "MemoryError: ; use a machine with more memory"),
    ],
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    assert words in in_words(error)
    assert "\n" not in in_words(error)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("kd_models.package.Package.load", fail)


@pytest.mark.usefixtures("broken")
def test_an_error_that_is_not_ours_ends_in_a_line_too(job: Callable[..., Any]) -> None:
    ended = job("score", "x", "digits", "--json")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "error: RuntimeError: the disk is on fire; run it again with --debug to see where it "
        "arose; what is finished is kept"
    ]


@pytest.mark.usefixtures("broken")
def test_debug_shows_where_it_arose(job: Callable[..., Any]) -> None:
    ended = job("score", "x", "digits", "--debug")
    assert ended.exit_code == 2
    assert "Traceback" in ended.stderr
    assert "in fail" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: RuntimeError: the disk is on fire")


def test_an_interrupted_job_says_how_to_go_on(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kd_models.package.Package.load", interrupt)
    ended = job("score", "x", "digits")
    assert ended.exit_code == 130
    assert ended.stderr.splitlines() == ["interrupted; the same command goes on from here"]
