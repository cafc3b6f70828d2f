"""A stage while it trains: its learner and data, and what was found of it so far."""

from collections.abc import Mapping

from torch import Tensor

from kd_models.evaluation.localisation import Localisation, localise
from kd_models.evaluation.metrics import aurocs
from kd_models.evaluation.protocol import holdout_split
from kd_models.methods.base import Learner
from kd_models.world import World
from orchestrator.planning.stage import Stage
from orchestrator.running.inputs import PackInputs
from orchestrator.store.record import History, ScoredSplit, to_scored_split, write_stage
from orchestrator.store.stages import Store


class RunningStage:
    """A stage while it trains.

    Args:
        stage: the stage.
        learner: its learner, on the device.
        inputs: where its data comes from.
        history: the epochs of an earlier, unfinished run.
    """

    def __init__(
        self, stage: Stage, learner: Learner, inputs: PackInputs, history: History
    ) -> None:
        self.stage, self.learner = stage, learner
        self.data = inputs.data(stage)
        self.history = list(history)
        self._holdout = holdout_split(self.data.labels.numpy())
        self._scores: ScoredSplit | None = None
        self._localisation: Localisation | None = None

    def evaluate(self, scores: Tensor) -> dict[str, float]:
        """Keep the novelty scores (N,) of the test images, and return their AUROCs."""
        self._scores = to_scored_split(scores, self.data.novel, self.data.labels)
        return aurocs(self._scores.scores, self._scores.novel, self._holdout)

    def localise(self, world: World) -> Mapping[str, float]:
        """Draw heat maps of the test images, and return how well they find what is novel."""
        assert self._scores is not None
        self._localisation = localise(
            self.learner.scorer(),
            self.data.test,
            self._scores.scores,
            self._scores.novel,
            masks=self.data.masks,
            masked=self.data.masked,
            names=self.data.names,
            world=world,
        )
        return self._localisation.metrics

    def write(self, store: Store, lanes: int) -> None:
        """Store the stage, whose last epoch is evaluated.

        Args:
            store: the store.
            lanes: how many were to train at once.
        """
        assert self._scores is not None
        networks = {name: network.state_dict() for name, network in self.learner.trained.items()}
        write_stage(
            store, self.stage, networks, self._scores, self.history, lanes, self._localisation
        )
