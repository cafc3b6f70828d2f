"""What is kept of a pack's half-trained stages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kd_models.training.state import TrainingState
from orchestrator.planning.stage import Stage
from orchestrator.running.context import Session
from orchestrator.store.record import History

_STATE, _HISTORY, _FAILURES = ".pt", ".history.json", "failures.json"


@dataclass(frozen=True)
class Checkpoint:
    """The last checkpoint of an unfinished run of a pack.

    Attributes:
        states: by stage key, the state to go on with.
        histories: by stage key, the epochs up to it.
        failures: by stage key, why stages cannot be trained.
    """

    states: Mapping[str, TrainingState] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, stages: Sequence[Stage], session: Session) -> Self:
        """Read what the session's checkpoint has of the stages."""
        with session.checkpoint() as folder:
            if folder is None:
                return cls()
            keys = [s.key for s in stages if (folder / f"{s.key}{_STATE}").exists()]
            failures = folder / _FAILURES
            return cls(
                {key: TrainingState.load(folder / f"{key}{_STATE}") for key in keys},
                {key: json.loads((folder / f"{key}{_HISTORY}").read_bytes()) for key in keys},
                json.loads(failures.read_bytes()) if failures.exists() else {},
            )


def write_checkpoint(
    folder: Path,
    states: Iterable[tuple[str, TrainingState]],
    histories: Mapping[str, History],
    failures: Mapping[str, str],
) -> None:
    """Write what :meth:`Checkpoint.load` reads into a folder; arguments as its attributes."""
    for key, state in states:
        state.save(folder / f"{key}{_STATE}")
        history = json.dumps(histories[key])
        (folder / f"{key}{_HISTORY}").write_text(history, encoding="utf-8")
    (folder / _FAILURES).write_text(json.dumps(dict(failures)), encoding="utf-8")
