"""The seam between a schedule and whatever trains its packs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from orchestrator.console import Say
from orchestrator.errors import UserError
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.running.checkpoints import Checkpoints
from orchestrator.running.context import RunContext
from orchestrator.store.objects import Objects
from orchestrator.store.stages import Store

T = TypeVar("T")


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
        objects: where checkpoints and leases are.
        images: the datasets by name.
        pretrained: the pretrained weights, where the method has any.
    """

    spec: SweepSpec
    store: Store
    objects: Objects
    images: Mapping[str, ImageSet]
    pretrained: StateDict | None

    @property
    def checkpoints(self) -> Checkpoints:
        """Return the checkpoints of unfinished stages."""
        return Checkpoints(self.objects)

    def context(self) -> RunContext:
        """Return the context of packs that run in this process."""
        resources, pretrained = self.spec.resources, self.pretrained
        return RunContext(
            store=self.store,
            checkpoints=self.checkpoints,
            images=self.images.__getitem__,
            read_pretrained=None if pretrained is None else lambda: pretrained,
            budget_bytes=int(resources.teacher_cache_gib * 2**30),
            lanes=resources.lanes,
            evaluate_every=self.spec.evaluation.every,
            checkpoint_every=resources.checkpoint_every,
        )


@dataclass(frozen=True)
class Reply(Generic[T]):
    """What became of a question to a machine of the cluster.

    Attributes:
        machine: its name.
        resources: what the cluster believes it has, by name.
        answer: its answer; None if it gave none.
        problem: why it gave none.
        asked, answered: when, in seconds since 1970 by the clock of this process.
    """

    machine: str
    resources: Mapping[str, float]
    answer: T | None
    problem: str
    asked: float
    answered: float


class Executor(Protocol):
    """Runs the packs of a schedule."""

    def start(self, say: Say) -> None:
        """Get ready, before anything is asked of it.

        Raises:
            ExecutorError: it cannot.
        """

    def check_room(self, spec: SweepSpec) -> int:
        """Return how many packs of a sweep run at once now; 0 where that may become more.

        Raises:
            ExecutorError: not even one will.
        """

    def ask_machines(self, question: Callable[[str, Path], T]) -> list[Reply[T]]:
        """Ask every machine that packs or their driver may run on.

        Args:
            question: is called there with the machine's name, and the folder on its disk for what
                does not fit its memory.
        """

    def send(self, work: Work, stages: Sequence[Stage], say: Say) -> None:
        """Send what stages need to where they will train: before machines wait for it.

        Args:
            work: what the stages will be run with.
            stages: those that may be trained.
            say: told how far it is.
        """

    def concurrent_packs(self, spec: SweepSpec, say: Say) -> int:
        """Return how many packs of a sweep run at once at most; ``say`` is told of waiting.

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


def last_line_of(error: BaseException) -> str:
    """Return an error's type and the last line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"
