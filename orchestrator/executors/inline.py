"""Packs one after another in this process: no cluster, no other process."""

import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World
from orchestrator.console import Say
from orchestrator.executors.base import ExecutorError, Listener, Reply, T, Work, last_line_of
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.running.pack import run_pack
from orchestrator.store.leases import Leases

_REFRESH_SECONDS = 0.5


class InlineExecutor:
    """Runs packs in this process, on all of its cores or its GPU."""

    def start(self, say: Say) -> None:
        """Prepare nothing."""

    def stop(self) -> None:
        """Give nothing back."""

    def send(self, work: Work, stages: Sequence[Stage], say: Say) -> None:
        """Send nothing: it is here."""

    def check_room(self, spec: SweepSpec) -> int:
        """Return 1; raises as :meth:`concurrent_packs`."""
        return self.concurrent_packs(spec, lambda line: None)

    def ask_machines(self, question: Callable[[str, Path], T]) -> list[Reply[T]]:
        """Ask this machine."""
        asked = time.time()
        answer = question(socket.gethostname(), Path(tempfile.gettempdir()))
        return [Reply(socket.gethostname(), {}, answer, "", asked, time.time())]

    def concurrent_packs(self, spec: SweepSpec, say: Say) -> int:
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
                f"resources.gpus_per_worker is {spec.resources.gpus_per_worker:g}, but PyTorch "
                "finds no GPU here: set it to 0, or use the ray executor with a cluster that has"
            )
        return 1

    def run(self, schedule: Schedule, work: Work, listener: Listener) -> None:
        """Run the packs of a schedule in its order."""
        keep_freed_memory()
        on_gpu = work.spec.resources.gpus_per_worker > 0
        world = World(device=torch.device("cuda" if on_gpu else "cpu"))
        session = _Session(listener)
        with Leases(work.objects) as leases:
            dispatcher = Dispatcher(schedule, work, leases, listener)
            while not dispatcher.over:
                pack = dispatcher.next()
                if pack is None:  # another sweep trains what is left
                    listener.refresh()
                    time.sleep(_REFRESH_SECONDS)
                    continue
                listener.pack_started(pack)
                try:
                    failures = run_pack(pack, work.context(), world, session)
                except Exception as error:
                    dispatcher.lost(pack, last_line_of(error))
                else:
                    dispatcher.ended(pack, failures)


class _Session:
    """Reports to the listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._refreshed = 0.0

    def report(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        self._listener.epochs_finished(stage.key, rows)
        if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            self._listener.refresh()

    def say(self, line: str) -> None:
        self._listener.said(line)
