"""--help of every command says what it takes, and every job is a command."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from orchestrator.cli import app

JOBS = Path(__file__).parents[3] / "jobs"

MENTIONED = {
    "sweep": ["FILE", "--set", "--address", "--executor", "--dry-run", "--json", "inline"],
    "doctor": ["FILE", "--set", "--address", "--executor", "--json", "fail"],
    "report": ["FILE", "--set", "--out", "--json", "index.html"],
    "profile": ["--method", "--dataset", "--set", "--json"],
    "choose": [
        *("SWEEP", "--max-params", "--max-flops", "--max-latency-us", "--max-bytes", "--max-drop"),
        *("--cheapest-by", "--per", "--register", "--dry-run", "--tracking-uri", "--json"),
        "champion",
    ],
    "download": ["MODEL", "DEST", "--tracking-uri", "--json", "NAME@alias", "NAME/version"],
    "score": ["PACKAGE", "IMAGES", "--data", "--unreadable", "--json", "threshold"],
}
REQUIRED = {
    "sweep": "FILE",
    "doctor": "FILE",
    "report": "FILE",
    "profile": "--dataset",
    "choose": "SWEEP",
    "download": "MODEL",
    "score": "PACKAGE",
}


def test_every_command_is_tested_here() -> None:
    assert set(get_command(app).commands) == MENTIONED.keys() == REQUIRED.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MENTIONED)
def test_help_mentions_every_argument(kd: Callable[..., Any], name: str) -> None:
    ended = kd(name, "--help")
    assert ended.exit_code == 0
    for word in MENTIONED[name]:
        assert word.lower() in ended.stdout.lower(), word


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_argument_is_named(kd: Callable[..., Any], name: str) -> None:
    ended = kd(name)
    assert ended.exit_code == 2
    assert REQUIRED[name].lower() in ended.stderr.lower()
    assert ended.stdout == ""


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.py")), ids=lambda path: path.stem)
def test_every_job_is_a_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder comes first among those of modules, and hides none of the library's."""
    monkeypatch.setattr(sys, "path", [str(JOBS), *sys.path])
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert MENTIONED[path.stem][0].lower() in capsys.readouterr().out.lower()
    assert path.stem not in sys.stdlib_module_names
