"""The seam between a schedule and whatever trains its packs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from orchestrator.console import Say
from orchestrator.errors import UserError
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.running.context import RunContext
from orchestrator.store.base import Store
from orchestrator.store.record import is_trained


class ExecutorError(UserError):
    """The executor cannot run the sweep."""


class Listener(Protocol):
    """Takes what happens while packs run. Called in the process that runs the sweep."""

    def pack_started(self, pack: Pack) -> None:
        """A pack starts."""

    def epochs_finished(self, stage_key: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Epochs of a stage are finished, in order.

        More than one at once are those of an earlier run that the stage goes on from.
        """

    def said(self, line: str) -> None:
        """A pack has something to tell."""

    def refresh(self) -> None:
        """Called often while packs run."""

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        """A pack ended.

        Args:
            pack: the pack.
            failures: the reasons of the stages that were not trained, by key.

        Returns:
            The failures, with those added that the listener knows of.
        """


@dataclass(frozen=True)
class Work:
    """What an executor is given besides the schedule.

    Attributes:
        spec: the sweep.
        store: for finished stages.
        images: the datasets by name.
        pretrained: the pretrained weights, where the method has any.
        folder: for checkpoints and locks; every machine at work must see it.
    """

    spec: SweepSpec
    store: Store
    images: Mapping[str, ImageSet]
    pretrained: StateDict | None
    folder: Path

    def context(self) -> RunContext:
        """Return the context of packs that run in this process."""
        resources, pretrained = self.spec.resources, self.pretrained
        return RunContext(
            store=self.store,
            images=self.images.__getitem__,
            read_pretrained=None if pretrained is None else lambda: pretrained,
            budget_bytes=int(resources.teacher_cache_gib * 2**30),
            lanes=resources.lanes,
            evaluate_every=self.spec.evaluation.every,
            checkpoint_every=resources.checkpoint_every,
        )


class Executor(Protocol):
    """Runs the packs of a schedule."""

    def start(self, say: Say) -> None:
        """Get ready, before anything is asked of it.

        Raises:
            ExecutorError: it cannot.
        """

    def concurrent_packs(self, spec: SweepSpec) -> int:
        """Return how many packs of a sweep run at once.

        Raises:
            ExecutorError: not even one can.
        """

    def run(self, schedule: Schedule, work: Work, listener: Listener) -> None:
        """Run the packs of a schedule until it is over.

        Raises:
            KeyboardInterrupt: it was interrupted; what was running is stopped.
        """

    def stop(self) -> None:
        """Give everything back. Called once after :meth:`start`, whatever happened."""


@contextmanager
def pack_lock(pack: Pack, folder: Path, say: Say) -> Iterator[None]:
    """Keep other sweeps from training the same pack in ``folder`` at the same time.

    The same pack has the same checkpoints, so that it is found again. The lock ends with this
    process, however that ends.
    """
    locks = folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{pack.key}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        more = f" and {len(pack.stages) - 1} more" if len(pack.stages) > 1 else ""
        say(f"waiting for another sweep that trains {pack.stages[0].title}{more}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def not_trained(pack: Pack, store: Store, reason: str) -> dict[str, str]:
    """Return a reason for every stage of a pack that the store lacks."""
    return {stage.key: reason for stage in pack.stages if not is_trained(store, stage)}
