"""Packs one after another in this process: no cluster, no other process."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World
from orchestrator.console import Say
from orchestrator.executors.base import ExecutorError, Listener, Work, not_trained, pack_lock
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.running.pack import run_pack
from orchestrator.store.record import is_trained

_REFRESH_SECONDS = 0.5


class InlineExecutor:
    """Runs packs in this process, on all of its cores or its GPU."""

    def start(self, say: Say) -> None:
        """Prepare nothing."""

    def stop(self) -> None:
        """Give nothing back."""

    def concurrent_packs(self, spec: SweepSpec) -> int:
        """Return 1.

        Raises:
            ExecutorError: the sweep wants several workers, or a GPU that is not there.
        """
        if spec.resources.workers > 1:
            raise ExecutorError(
                f"resources.workers is {spec.resources.workers}, but the inline executor trains "
                "in one process: set it to 1, or use the ray executor"
            )
        if spec.resources.gpus_per_worker and not torch.cuda.is_available():
            raise ExecutorError(
                f"resources.gpus_per_worker is {spec.resources.gpus_per_worker}, but PyTorch "
                "finds no GPU here: set it to 0, or use the ray executor with a cluster that has"
            )
        return 1

    def run(self, schedule: Schedule, work: Work, listener: Listener) -> None:
        """Run the packs of a schedule in its order."""
        keep_freed_memory()
        while (pack := schedule.start_next()) is not None:
            with pack_lock(pack, work.folder, listener.said):
                listener.pack_started(pack)
                failures = _run(pack, work, listener)
            schedule.finish(pack.key, listener.pack_ended(pack, failures))


def _run(pack: Pack, work: Work, listener: Listener) -> dict[str, str]:
    session = _Session(work.folder / "inline" / pack.key, listener)
    if all(is_trained(work.store, stage) for stage in pack.stages):
        session.forget()
        return {}  # by another sweep, meanwhile
    on_gpu = work.spec.resources.gpus_per_worker > 0
    world = World(device=torch.device("cuda" if on_gpu else "cpu"))
    tries = work.spec.resources.retries + 1
    for tried in range(1, tries + 1):
        try:
            failures = run_pack(pack, work.context(), world, session)
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"
            if tried == tries:
                return not_trained(pack, work.store, reason)
            listener.said(f"{pack.stages[0].title}: trying again ({reason})")
        else:
            session.forget()
            return failures
    return {}


class _Session:
    """Checkpoints in a folder of this machine; reports to the listener.

    The file ``current`` names the last whole checkpoint, so that one is there whenever this
    process dies.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener
        self._current = folder / "current"
        self._refreshed = 0.0

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        yield (
            self._folder / self._current.read_text(encoding="utf-8")
            if self._current.exists()
            else None
        )

    def save(self, write: Callable[[Path], None] | None) -> None:
        assert write is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=self._folder))
        write(new)
        pointer = new.with_suffix(".name")
        pointer.write_text(new.name, encoding="utf-8")
        for file in (*new.iterdir(), pointer):
            _flush(file)
        pointer.replace(self._current)
        for other in self._folder.iterdir():
            if other not in (new, self._current):
                shutil.rmtree(other, ignore_errors=True)

    def report(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        self._listener.epochs_finished(stage.key, rows)
        if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            self._listener.refresh()

    def say(self, line: str) -> None:
        self._listener.said(line)

    def forget(self) -> None:
        """Remove the checkpoint: the store has what was trained."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _flush(file: Path) -> None:
    """Bring a file to the disk, so that it is whole after a power loss too."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
