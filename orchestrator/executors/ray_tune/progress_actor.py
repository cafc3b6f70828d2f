"""Where running stages report to, for whoever watches the sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray


@dataclass(frozen=True)
class PackStarted:
    """A trial starts to train its pack."""

    trial_id: str


@dataclass(frozen=True)
class EpochsFinished:
    """Epochs of a stage are finished."""

    stage_key: str
    rows: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Said:
    """There is something to tell."""

    line: str


ProgressEvent = PackStarted | EpochsFinished | Said


@ray.remote(num_cpus=0)
class ProgressActor:
    """One actor for a whole sweep: cheaper than a queue and a process for every trial."""

    def __init__(self) -> None:
        self._events: list[ProgressEvent] = []

    def post(self, event: ProgressEvent) -> None:
        """Take an event."""
        self._events.append(event)

    def take(self) -> list[ProgressEvent]:
        """Return what was posted since the last call."""
        events, self._events = self._events, []
        return events
