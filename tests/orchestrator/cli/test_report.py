"""``kd report``: the page of a sweep, from its file and the store."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import Page

pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of one class of digits."""
    path = tmp_path / "a.yaml"
    raw = {
        "name": "a",
        "datasets": ["digits"],
        "baselines": [],
        "normal_classes": [0],
        "structures": ["alone"],
        "student_widths": [[1, 2, 4]],
        "training": {"epochs": 2, "batch_size": 32},
    }
    path.write_text(yaml.safe_dump(raw))
    return path


def test_a_sweep_that_was_not_run_has_a_page_that_says_so(
    kd: Callable[..., Any], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = kd("report", file, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert ended.answer == {
        "name": "a",
        "page": "a-report/index.html",
        "figures": [],
        "candidates": 2,
        "finished": 0,
    }
    assert "warning: no candidate of a is finished in " in ended.stderr
    page = Page.read(tmp_path / "a-report/index.html")
    assert page.column("not-finished", "reason") == ["the store does not have it"] * 2
    assert not (tmp_path / "home/mlflow.db").exists()


def test_a_sweep_leaves_a_page_and_it_can_be_written_again(
    kd: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    ended = kd("sweep", file, "--executor", "inline", "--report", tmp_path / "first", "--json")
    assert ended.exit_code == 0, ended.stderr
    ended = kd("report", file, "--out", tmp_path / "new/again", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert (ended.answer["finished"], ended.answer["candidates"]) == (2, 2)
    assert ended.answer["page"] == str(tmp_path / "new/again/index.html")
    for figure in ended.answer["figures"]:
        assert Path(figure).read_text().startswith("<?xml")
    first, again = (
        Page.read(tmp_path / folder / "index.html") for folder in ("first", "new/again")
    )
    assert first.tables == again.tables
    assert [path.name for path in sorted((tmp_path / "first").iterdir())] == [
        *("candidates.json", "candidates.txt", "comparison.png", "comparison.txt"),
        *("figures", "index.html"),
    ]
    (logged,) = (tmp_path / "home/mlartifacts").rglob("report/index.html")
    assert Page.read(logged).tables == again.tables

    # Another sweep, of which the store has half.
    wider = ("--set", "student_widths=[[1, 2, 4], [2, 2, 2]]", "--set", "name=b")
    ended = kd("report", file, *wider, "--out", tmp_path / "other")
    assert ended.stdout == f"{tmp_path}/other/index.html: 2 of 4 candidates finished\n"
    assert Page.read(tmp_path / "other/index.html").texts["h1"] == ["Sweep b"]


def test_a_folder_that_cannot_be_made_is_said(
    kd: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    ended = kd("report", file, "--out", file / "page")
    assert ended.exit_code == 2
    assert f"--out {file}/page: cannot be made (Not a directory)" in ended.stderr


@pytest.mark.slow
def test_neither_ray_nor_mlflow_is_imported(file: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from typer.testing import CliRunner
from orchestrator.cli import app
ended = CliRunner().invoke(app, ["report", {str(file)!r}, "--out", {str(tmp_path / "page")!r}])
assert ended.exit_code == 0, ended.stderr
print([name for name in ("ray", "mlflow") if name in sys.modules])
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
