"""What trials post, brought to the process that runs the sweep."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray

from orchestrator.executors.base import Listener
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
        progress: the progress actor, which has the events.
    """

    def __init__(self, listener: Listener, progress: "ActorHandle[Any]") -> None:
        self._listener, self._progress = listener, progress
        self._packs: dict[str, Pack] = {}
        self._polled = 0.0

    def pack_suggested(self, pack: Pack) -> None:
        """Take note that a trial is to train a pack. The trial says when it starts."""
        self._packs[pack.key] = pack

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        """Pass on that a pack ended, after all that its trial posted."""
        self._poll()
        return self._listener.pack_ended(pack, failures)

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
                case PackStarted(pack_key):
                    self._listener.pack_started(self._packs[pack_key])
                case EpochsFinished(stage_key, rows):
                    self._listener.epochs_finished(stage_key, rows)
                case Said(line):
                    self._listener.said(line)
