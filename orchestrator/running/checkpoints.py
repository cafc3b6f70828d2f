"""What is kept of half-trained stages: each by its key, so that it goes on however it is packed."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kd_models.training.state import TrainingState
from kd_models.world import World
from orchestrator.planning.stage import Stage
from orchestrator.store.objects import Objects, in_parallel
from orchestrator.store.record import History


@dataclass(frozen=True)
class Checkpoint:
    """The last checkpoint of an unfinished stage.

    Attributes:
        state: the state to go on with.
        history: the epochs up to it.
        lanes: how many were to train at once.
    """

    state: TrainingState
    history: History
    lanes: int


@dataclass(frozen=True)
class Unfinished:
    """What the checkpoints of some stages say.

    Attributes:
        checkpoints: by stage key.
        diverged: by stage key, why stages diverged: they would again.
        problems: what a person should know of those that cannot be read, a sentence each.
    """

    checkpoints: Mapping[str, Checkpoint]
    diverged: Mapping[str, str]
    problems: tuple[str, ...]


class Checkpoints:
    """The checkpoints of unfinished stages, one object each, replaced as a whole.

    Args:
        objects: where they are.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def save(self, key: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""
        state = io.BytesIO()
        checkpoint.state.save(state)
        header = {"history": list(map(dict, checkpoint.history)), "lanes": checkpoint.lanes}
        self._write(key, header, state.getvalue())

    def save_diverged(self, key: str, reason: str) -> None:
        """Keep why a stage diverged, in place of its checkpoint."""
        self._write(key, {"diverged": reason})

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the checkpoints of stages, as far as there are any."""
        in_parallel(lambda key: self._objects.delete(_name(key)), keys)

    def load(self, stages: Sequence[Stage], world: World) -> Unfinished:
        """Read the checkpoints of stages, in every process of ``world``.

        What one of them cannot read counts as missing in all.
        """
        checkpoints: dict[str, Checkpoint] = {}
        diverged: dict[str, str] = {}
        problems: dict[str, str] = {}
        there = self._objects.existing(_name(stage.key) for stage in stages)
        for stage in stages:
            if _name(stage.key) not in there:
                continue
            # Outside: a place that cannot be reached is no damage.
            content = self._objects.get(_name(stage.key))
            try:
                header, _, state = content.partition(b"\n")
                kept = json.loads(header)
                if "diverged" in kept:
                    diverged[stage.key] = kept["diverged"]
                else:
                    checkpoints[stage.key] = Checkpoint(
                        TrainingState.load(io.BytesIO(state)), kept["history"], kept["lanes"]
                    )
            # torch and pickle raise anything at all on damaged bytes.
            except Exception as error:
                reason = (str(error).strip().splitlines() or [""])[0]
                problems[stage.key] = (
                    f"{stage.title} begins again: its checkpoint cannot be read "
                    f"({type(error).__name__}: {reason[:200]})"
                )
        unreadable = {key: line for found in world.gather(problems) for key, line in found.items()}
        return Unfinished(
            {key: kept for key, kept in checkpoints.items() if key not in unreadable},
            {key: reason for key, reason in diverged.items() if key not in unreadable},
            tuple(unreadable.values()),
        )

    def diverged(self, keys: Iterable[str]) -> dict[str, str]:
        """Return by key why stages diverged, of those that did."""
        there = self._objects.existing(map(_name, keys))
        return {
            name.rpartition("/")[2]: reason
            for name, reason in in_parallel(self._reason, sorted(there))
            if reason is not None
        }

    def _reason(self, name: str) -> str | None:
        try:
            reason = json.loads(self._objects.get(name).partition(b"\n")[0]).get("diverged")
        except (KeyError, ValueError, AttributeError):  # deleted meanwhile, or damaged
            return None
        return None if reason is None else str(reason)

    def _write(self, key: str, header: Mapping[str, Any], state: bytes = b"") -> None:
        self._objects.put(_name(key), json.dumps(header).encode() + b"\n" + state)


def _name(key: str) -> str:
    return f"checkpoints/{key[:2]}/{key}"
