"""The trials that run: what they tell the process that runs the sweep, and what they train."""

import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from orchestrator.executors.base import Listener
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune.progress_actor import (
    EpochsFinished,
    PackRequest,
    PackStarted,
    ProgressEvent,
    Said,
)
from orchestrator.planning.pack import Pack

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_REFRESH_SECONDS = 0.3
_MOST_IDLE_SECONDS = 30.0
"""that a trial waits for another pack: it holds CPUs and GPUs meanwhile, but its start takes ten"""


class RunningTrials:
    """Passes the events of trials on to a listener, and gives trials their next packs.

    Args:
        listener: the listener.
        dispatcher: has the packs.
        progress: the progress actor, which has the events and requests.
        reuse_trials: whether a trial that has trained its pack is given another.
    """

    def __init__(
        self,
        listener: Listener,
        dispatcher: Dispatcher,
        progress: "ActorHandle[Any]",
        *,
        reuse_trials: bool,
    ) -> None:
        self._listener, self._dispatcher, self._progress = listener, dispatcher, progress
        self._reuse_trials = reuse_trials
        self._packs: dict[str, Pack] = {}
        """what each trial trains"""
        self._idle: dict[str, tuple[PackRequest, float]] = {}
        """by trial, its request, and when it was made"""
        self._answers: dict[str, tuple[PackRequest, tuple[str, ...]]] = {}
        """by trial, the last one"""
        self._refreshed = 0.0

    def suggest(self, trial_id: str) -> Pack | None:
        """Return a pack for a new trial. Trials that wait for another one come first."""
        self._poll()
        if self._idle:
            return None
        pack = self._dispatcher.next()
        if pack is not None:
            self._packs[trial_id] = pack
        return pack

    def ended(self, trial_id: str) -> Pack | None:
        """Pass on what a trial has posted, and return the pack that it did not train to its end."""
        self._poll()
        self._idle.pop(trial_id, None)
        return self._packs.pop(trial_id, None)

    def refresh(self) -> None:
        """Pass on what was posted, and show it, if that was not done a moment ago."""
        # Not by the last poll: Tune asks for a trial at every step, so that is always now.
        if time.monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = time.monotonic()
            self._poll()
            self._listener.refresh()

    def _poll(self) -> None:
        events: list[ProgressEvent]
        requests: list[PackRequest]
        try:
            events, requests = ray.get(self._progress.take.remote())
        except RayError:
            return  # it starts again; what it had not passed on is lost, or asked for again
        for event in events:
            self._pass_on(event)
        for request in requests:
            self._take(request)
        for request, since in list(self._idle.values()):
            self._find_work(request, since)

    def _pass_on(self, event: ProgressEvent) -> None:
        match event:
            case PackStarted(trial_id):
                if trial_id in self._packs:
                    self._listener.pack_started(self._packs[trial_id])
            case EpochsFinished(stage_key, rows):
                self._listener.epochs_finished(stage_key, rows)
            case Said(line):
                self._listener.said(line)

    def _take(self, request: PackRequest) -> None:
        """Take note that a trial has trained its pack, and waits for another."""
        trial = request.trial_id
        if trial in self._idle:
            return
        if trial in self._answers and self._answers[trial][0].number == request.number:
            self._progress.answer.remote(*self._answers[trial])  # the first one was lost
        elif trial in self._packs:
            self._dispatcher.ended(self._packs.pop(trial), request.failures)
            self._idle[trial] = request, time.monotonic()

    def _find_work(self, request: PackRequest, since: float) -> None:
        """Give a trial that waits another pack, or let it end."""
        trial = request.trial_id
        pack = self._dispatcher.next() if self._reuse_trials else None
        if pack is not None:
            self._packs[trial] = pack
        elif (
            self._reuse_trials
            and not self._dispatcher.over
            and time.monotonic() - since < _MOST_IDLE_SECONDS
        ):
            return
        del self._idle[trial]
        stages = tuple(stage.key for stage in pack.stages) if pack else ()
        self._answers[trial] = request, stages
        self._progress.answer.remote(request, stages)
