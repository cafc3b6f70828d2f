"""Whatever goes wrong ends a kd with one line that says what to do."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from kd_models.data import DataError
from orchestrator.cli.answers import in_words
from orchestrator.console import console
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
def test_an_error_that_is_not_ours_ends_in_a_line_too(kd: Callable[..., Any]) -> None:
    ended = kd("score", "x", "digits", "--json")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines() == [
        "error: RuntimeError: the disk is on fire; run it again with --debug to see where it "
        "arose; what is finished is kept"
    ]


@pytest.mark.usefixtures("broken")
def test_debug_shows_where_it_arose(kd: Callable[..., Any]) -> None:
    ended = kd("score", "x", "digits", "--debug")
    assert ended.exit_code == 2
    assert "Traceback" in ended.stderr
    assert "in fail" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: RuntimeError: the disk is on fire")


def test_an_interrupted_job_says_how_to_go_on(
    kd: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kd_models.package.Package.load", interrupt)
    ended = kd("score", "x", "digits")
    assert ended.exit_code == 130
    assert ended.stderr.splitlines() == ["interrupted; the same command goes on from here"]


@pytest.mark.parametrize(
    "arguments", [("choose", "some"), ("download", "some", "here"), ("score", "STUDENT", "digits")]
)
def test_a_home_that_is_none_is_said_in_our_words(
    kd: Callable[..., Any],
    student: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.setenv("KD_HOME", "/a?b")
    ended = kd(*(str(student) if part == "STUDENT" else part for part in arguments))
    assert ended.exit_code == 2
    assert ended.stderr.splitlines() == [
        "error: root is '/a?b': what follows the question mark is no part of a database's name; "
        "give another folder, or a tracking_uri (KD_HOME and MLFLOW_TRACKING_URI say where)"
    ]


def test_a_home_that_is_none_does_not_matter_where_none_is_needed(
    kd: Callable[..., Any], student: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_HOME", "/a?b")
    assert kd("score", student, images).exit_code == 0
    assert kd("score", student, "digits", "--data", images).exit_code == 0


@pytest.mark.parametrize("unreadable", ["stop", "skip"])
def test_a_name_commands_no_terminal_and_breaks_no_line(
    kd: Callable[..., Any], student: Path, tmp_path: Path, unreadable: str
) -> None:
    folder = tmp_path / "a\nb\x1b[31m"
    folder.mkdir()
    (folder / "x\x9b\u202e.png").write_bytes(b"none")
    Image.new("L", (4, 4)).save(folder / "y\r.png")
    ended = kd("score", student, folder, "--unreadable", unreadable)
    assert r"a\u000ab\u001b[31m/x\u009b\u202e.png cannot be read as an image" in ended.stderr
    said = ended.stdout + ended.stderr
    assert said.replace("\n", "").replace("\t", "").isprintable()
    assert len(ended.stderr.splitlines()) == 1


def test_text_of_any_origin_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say = console(stderr=True, soft_wrap=True)
    say.print("a\x1b[2J\x07b\tc\r\nd\udcff", style="red")
    assert capsys.readouterr().err == "a\\u001b[2J\\u0007b       c\\u000d\nd\\xff\n"
