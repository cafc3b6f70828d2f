"""The size of what a job would upload."""

from pathlib import Path

import pytest
from ray._private.runtime_env import packaging

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


def test_what_ray_would_refuse_is_a_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(project / "data/large.bin")
    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 150 << 20)
    (finding,) = look_at_upload(project)
    assert finding.level == "fault"


@pytest.mark.parametrize("file", [".rayignore", ".gitignore"])
def test_what_ray_leaves_out_does_not_count(project: Path, file: str) -> None:
    grow(project / "data/large.bin")
    (project / file).write_text("data/\n")
    (finding,) = look_at_upload(project)
    assert finding.level == "ok"


def test_another_folder_is_not_looked_at(tmp_path: Path) -> None:
    assert list(look_at_upload(tmp_path)) == []
