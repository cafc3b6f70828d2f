"""Packs: stages of one shape that one trial trains."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from orchestrator.planning.keys import canonical_json, sha256
from orchestrator.planning.stage import Stage

T = TypeVar("T")

MOST_IN_A_PACK = 64
"""at 48 lanes, the most that was measured, more lanes gain little (docs/benchmarks.md), while more
work is lost with a machine"""


@dataclass(frozen=True)
class Pack:
    """Stages of one shape that one trial trains, as lanes of one network or one after another.

    Attributes:
        key: the same whatever is left to train of it.
        stages: those that are left to train.
    """

    key: str
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, stages: Sequence[Stage], finished: Collection[str] = ()) -> Self:
        """Return the pack of stages; those whose keys are in ``finished`` are trained already."""
        keys = [stage.key for stage in stages]
        key = keys[0] if len(keys) == 1 else sha256(canonical_json(keys))
        return cls(key, tuple(stage for stage in stages if stage.key not in finished))

    @property
    def title(self) -> str:
        """Return the title of its first stage, and how many more there are."""
        more = f" and {len(self.stages) - 1} more" if len(self.stages) > 1 else ""
        return f"{self.stages[0].title}{more}"

    @property
    def parents(self) -> frozenset[str]:
        """Return the keys of the stages that must be finished before it starts."""
        return frozenset(parent for stage in self.stages for parent in stage.parents)


def evenly(things: Sequence[T], parts: int) -> Iterator[Sequence[T]]:
    """Yield ``things`` in ``parts`` parts of nearly equal size."""
    for part in range(parts):
        yield things[part * len(things) // parts : (part + 1) * len(things) // parts]
