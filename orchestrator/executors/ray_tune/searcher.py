"""The DAG of packs as a Ray Tune searcher."""

from typing import Any

from ray.tune.search import Searcher

from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune.running_trials import RunningTrials
from orchestrator.executors.ray_tune.trial import LOST

_DIED = "the trial's process died (see Ray's logs)"


class PackSearcher(Searcher):
    """Suggests a pack when there is one to train, nothing while there is none, then ends.

    Args:
        dispatcher: has the packs.
        trials: those that run.
    """

    def __init__(self, dispatcher: Dispatcher, trials: RunningTrials) -> None:
        super().__init__()
        self._dispatcher, self._trials = dispatcher, trials

    def suggest(  # type: ignore[override]  # FINISHED is a string
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the next pack's configuration, nothing yet, or that it is over."""
        if self._dispatcher.over:
            return str(Searcher.FINISHED)
        pack = self._trials.suggest(trial_id)
        if pack is None:
            return None
        return {"trial": trial_id, "stages": [stage.key for stage in pack.stages]}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note that a trial ended: what it had not trained to the end is lost."""
        pack = self._trials.ended(trial_id)
        if pack is not None:
            self._dispatcher.lost(pack, (result or {}).get(LOST) or _DIED)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher now and then; see save

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: what is finished is in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a sweep is resumed by planning it again."""
