"""The size of what a job would upload."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ray._private.runtime_env import packaging

from orchestrator.doctor.findings import Finding
from orchestrator.doctor.upload import look_at_upload


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("jobs/sweep.py", "data/large.bin", ".git/objects"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def grow(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(200 << 20)  # without taking as much of the disk


def test_a_small_project_is_well(project: Path) -> None:
    grow(project / ".git/objects")
    (finding,) = look_at_upload(project)
    assert finding.level == "ok"
    assert "in 2 files" in finding.what


def test_a_large_file_is_named(project: Path) -> None:
    grow(project / "data/large.bin")
    (finding,) = look_at_upload(project)
    assert finding.level == "warning"
    assert "data/large.bin" in finding.what
    assert ".rayignore" in finding.fix


def test_what_ray_may_refuse_is_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit is that of the compressed upload, and a sweep on this machine uploads nothing."""
    grow(project / "data/large.bin")
    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 150 << 20)
    (finding,) = look_at_upload(project)
    assert finding.level == "warning"
    assert "209.7 MB before compression" in finding.what
    assert "Ray takes 157 MB after compression" in finding.what


def test_a_folder_that_cannot_be_looked_at_says_what_to_do(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    findings_of: Callable[..., list[Finding]],
) -> None:
    monkeypatch.setenv("KD_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(project)
    (project / ".rayignore").write_bytes(b"\xff")  # no text
    (finding,) = findings_of()
    assert (finding.check, finding.level) == ("upload", "fault")
    assert "can be read" in finding.fix


@pytest.mark.parametrize("file", [".rayignore", ".gitignore"])
def test_what_ray_leaves_out_does_not_count(project: Path, file: str) -> None:
    grow(project / "data/large.bin")
    (project / file).write_text("data/\n")
    (finding,) = look_at_upload(project)
    assert finding.level == "ok"


def test_another_folder_is_not_looked_at(tmp_path: Path) -> None:
    assert list(look_at_upload(tmp_path)) == []
