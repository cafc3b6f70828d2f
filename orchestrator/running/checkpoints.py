"""What is kept of a pack's half-trained stages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kd_models.training.state import TrainingState
from kd_models.world import World
from orchestrator.planning.stage import Stage
from orchestrator.running.context import Session
from orchestrator.store.record import History

_STATE, _HISTORY, _DIVERGED = ".pt", ".history.json", "diverged.json"


@dataclass(frozen=True)
class Checkpoint:
    """The last checkpoint of an unfinished run of a pack.

    Attributes:
        states: by stage key, the state to go on with.
        histories: by stage key, the epochs up to it.
        diverged: by stage key, why stages diverged: they would again.
    """

    states: Mapping[str, TrainingState] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    diverged: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, stages: Sequence[Stage], session: Session, world: World) -> Self:
        """Read what the session's checkpoint has of the stages, in every process of ``world``.

        What one of them cannot read counts as missing, with a warning.
        """
        states: dict[str, TrainingState] = {}
        histories: dict[str, History] = {}
        diverged: dict[str, str] = {}
        problems: dict[str, str] = {}
        with session.checkpoint() as folder:
            if folder is None:
                return cls()
            try:
                diverged = json.loads((folder / _DIVERGED).read_bytes())
            except (OSError, ValueError) as error:
                problems[""] = f"its {_DIVERGED} cannot be read ({error})"
            for stage in stages:
                state = folder / f"{stage.key}{_STATE}"
                if not state.exists():
                    continue
                try:
                    history = json.loads((folder / f"{stage.key}{_HISTORY}").read_bytes())
                    states[stage.key] = TrainingState.load(state)
                # torch and pickle raise anything at all on a damaged file.
                except Exception as error:
                    reason = (str(error).strip().splitlines() or [""])[0]
                    problems[stage.key] = (
                        f"{stage.title} begins again: its checkpoint cannot be read "
                        f"({type(error).__name__}: {reason[:200]})"
                    )
                else:
                    histories[stage.key] = history
        unreadable = {key: line for found in world.gather(problems) for key, line in found.items()}
        if world.rank == 0:
            for problem in unreadable.values():
                session.say(f"warning: {problem}")
        return cls(
            {key: state for key, state in states.items() if key not in unreadable},
            {key: history for key, history in histories.items() if key not in unreadable},
            {stage.key: diverged[stage.key] for stage in stages if stage.key in diverged},
        )


def write_checkpoint(
    folder: Path,
    states: Iterable[tuple[str, TrainingState]],
    histories: Mapping[str, History],
    diverged: Mapping[str, str],
) -> None:
    """Write what :meth:`Checkpoint.load` reads into a folder; arguments as its attributes."""
    for key, state in states:
        state.save(folder / f"{key}{_STATE}")
        history = json.dumps(histories[key])
        (folder / f"{key}{_HISTORY}").write_text(history, encoding="utf-8")
    (folder / _DIVERGED).write_text(json.dumps(dict(diverged)), encoding="utf-8")
