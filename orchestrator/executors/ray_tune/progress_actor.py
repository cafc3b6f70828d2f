"""Where running trials report to, and where they are given their next pack."""

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


@dataclass(frozen=True)
class PackRequest:
    """A trial has trained a pack and asks for another.

    Attributes:
        trial_id: of the trial.
        number: how many packs it has trained.
        failures: the reasons of the last one's failed stages by key.
    """

    trial_id: str
    number: int
    failures: Mapping[str, str]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """One actor for a whole sweep: cheaper than a queue and a process for every trial.

    It may die and start again: events that were not taken are lost, and with them some lines of
    progress. Requests and answers are repeated until they have come to their end.
    """

    def __init__(self) -> None:
        self._events: list[ProgressEvent] = []
        self._requests: dict[str, PackRequest] = {}
        self._answers: dict[str, tuple[int, Sequence[str]]] = {}

    def post(self, event: ProgressEvent) -> None:
        """Take an event."""
        self._events.append(event)

    def ask(self, request: PackRequest) -> Sequence[str] | None:
        """Take a request, which a trial makes again and again until it is answered.

        Returns:
            The keys of the stages to train next, none if the trial is to end; or None where there
            is no answer yet.
        """
        number, stages = self._answers.get(request.trial_id, (0, ()))
        if number == request.number:
            self._requests.pop(request.trial_id, None)
            return stages
        self._requests[request.trial_id] = request
        return None

    def answer(self, request: PackRequest, stages: Sequence[str]) -> None:
        """Answer a request; see :meth:`ask`."""
        self._answers[request.trial_id] = (request.number, stages)

    def take(self) -> tuple[list[ProgressEvent], list[PackRequest]]:
        """Return what was posted since the last call, and the requests that wait."""
        events, self._events = self._events, []
        return events, list(self._requests.values())
