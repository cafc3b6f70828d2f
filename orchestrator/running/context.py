"""What a running pack is given, and what it needs of whoever runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from orchestrator.planning.stage import Stage
from orchestrator.running.checkpoints import Checkpoints
from orchestrator.store.stages import Store

Row = dict[str, float]
"""A finished epoch: ``epoch`` (from 1), ``seconds``, every term, AUROCs where evaluated."""


@dataclass(frozen=True)
class RunContext:
    """Where and how packs run. Nothing of it changes a result.

    Attributes:
        store: for finished stages.
        checkpoints: for unfinished ones.
        images: returns a dataset by name.
        read_pretrained: returns the pretrained weights, where the method has any.
        budget_bytes: the memory for teacher outputs in each process; None for no limit.
        lanes: stages to train at once.
        evaluate_every: epochs between AUROCs.
        checkpoint_every: epochs between checkpoints.
    """

    store: Store
    checkpoints: Checkpoints
    images: Callable[[str], ImageSet]
    read_pretrained: Callable[[], StateDict] | None = None
    budget_bytes: int | None = None
    lanes: int | Literal["auto"] = "auto"
    evaluate_every: int = 1
    checkpoint_every: int = 10


class Session(Protocol):
    """What a running pack tells whoever runs it. Called in process 0."""

    def report(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        """Tell of epochs that are finished."""

    def say(self, line: str) -> None:
        """Tell whoever watches the sweep."""
