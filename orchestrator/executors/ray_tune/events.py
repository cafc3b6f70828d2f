"""What trials post, brought to the process that runs the sweep."""

import time
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.executors.base import Listener
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune.progress_actor import (
    EpochsFinished,
    PackStarted,
    ProgressEvent,
    Said,
)
from orchestrator.planning.pack import Pack

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_POLL_SECONDS = 0.5


class TrialEvents:
    """Passes the events of trials on to a listener.

    Args:
        listener: the listener.
        dispatcher: is told which packs start.
        progress: the progress actor, which has the events.
    """

    def __init__(
        self, listener: Listener, dispatcher: Dispatcher, progress: "ActorHandle[Any]"
    ) -> None:
        self._listener, self._dispatcher, self._progress = listener, dispatcher, progress
        self._packs: dict[str, Pack] = {}
        """by trial"""
        self._polled = 0.0

    def suggested(self, trial_id: str, pack: Pack) -> None:
        """Take note that a trial is to train a pack. The trial says when it starts."""
        self._packs[trial_id] = pack

    def ended(self, trial_id: str) -> Pack:
        """Pass on what a trial has posted, and return its pack."""
        self._poll()
        return self._packs.pop(trial_id)

    def refresh(self) -> None:
        """Pass on what was posted, if that was not done a moment ago."""
        if time.monotonic() - self._polled > _POLL_SECONDS:
            self._poll()
            self._listener.refresh()

    def _poll(self) -> None:
        self._polled = time.monotonic()
        events: list[ProgressEvent] = ray.get(self._progress.take.remote())
        for event in events:
            match event:
                case PackStarted(trial_id):
                    self._dispatcher.started(self._packs[trial_id])
                case EpochsFinished(stage_key, rows):
                    self._listener.epochs_finished(stage_key, rows)
                case Said(line):
                    self._listener.said(line)
