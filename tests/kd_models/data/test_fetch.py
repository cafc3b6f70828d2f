import threading
from pathlib import Path

import pytest
from filelock import FileLock

from kd_models.data import DatasetMissing
from kd_models.data.fetch import Files, fetching
from kd_models.data.options import LoadOptions

FILES = Files(folder=Path("/there"), names=("a.gz",), source="http://source")


def test_one_waits_while_another_downloads(tmp_path: Path) -> None:
    entered = threading.Event()

    def second() -> None:
        with fetching("x", tmp_path, FILES, LoadOptions()):
            entered.set()

    with FileLock(tmp_path / ".download.lock"):
        waiting = threading.Thread(target=second, daemon=True)
        waiting.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    waiting.join(10)


def test_without_a_download_nobody_waits_and_nothing_is_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with fetching("x", root, FILES, LoadOptions(download=False)):
        assert not root.exists()


def test_a_root_that_cannot_be_written_can_still_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reached = False
    with fetching("x", tmp_path / "file" / "root", FILES, LoadOptions()):
        reached = True
    assert reached


@pytest.mark.parametrize(
    "error", [OSError("disk full"), RuntimeError("disk full"), EOFError("disk full")]
)
def test_a_failure_keeps_its_cause(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(
            DatasetMissing, match=r"x: .*/there \(disk full\).*a\.gz.*http://source"
        ) as caught,
        fetching("x", tmp_path, FILES, LoadOptions()),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_an_interrupt_is_no_missing_dataset(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), fetching("x", tmp_path, FILES, LoadOptions()):
        raise KeyboardInterrupt
