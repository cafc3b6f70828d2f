"""The DAG of packs as a Ray Tune searcher."""

import json
from typing import Any

from ray.tune.search import Searcher

from orchestrator.executors.base import not_trained
from orchestrator.executors.ray_tune.events import TrialEvents
from orchestrator.executors.ray_tune.trial import FAILURES
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.store.base import Store


class PackSearcher(Searcher):
    """Suggests a pack when its parents are finished, nothing while there is none, then ends."""

    def __init__(self, schedule: Schedule, events: TrialEvents, store: Store) -> None:
        super().__init__()
        self._schedule, self._events, self._store = schedule, events, store
        self._packs: dict[str, Pack] = {}

    def suggest(  # type: ignore[override]  # FINISHED is a string
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the next pack's configuration, nothing yet, or that it is over."""
        if self._schedule.over:
            return str(Searcher.FINISHED)
        pack = self._schedule.start_next()
        if pack is None:
            return None
        self._packs[trial_id] = pack
        self._events.pack_suggested(pack)
        return {"pack": pack.key, "stages": [stage.key for stage in pack.stages]}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note that a trial ended."""
        pack = self._packs.pop(trial_id)
        if error or not result or FAILURES not in result:
            reason = "the trial's process died (see Ray's logs)"
            failures = not_trained(pack, self._store, reason)
        else:
            failures = json.loads(result[FAILURES])
        self._schedule.finish(pack.key, self._events.pack_ended(pack, failures))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher now and then; see save

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: what is finished is in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a sweep is resumed by planning it again."""
