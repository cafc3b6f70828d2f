"""GANomaly (ACCV 2018): the networks and objectives of its training."""

from collections.abc import Sequence
from typing import ClassVar

from kd_models.methods.base import Learner, PackContext, Step, seeded
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.ganomaly.objectives import (
    DiscriminatorObjective,
    GanomalyWeights,
    GeneratorObjective,
)
from kd_models.methods.ganomaly.scores import GanomalyDetector, GanomalyScorer
from kd_models.methods.objectives import Objective
from kd_models.values import short_text

ROLE = "gan"
"""the generator's name in a batch"""


class GanomalyStep(Step):
    """The training of a generator against its discriminator."""

    network: NetworkConfig
    loss_weights: GanomalyWeights
    distance: Distance

    axis: ClassVar[str] = "widths"
    scored: ClassVar[str] = DETECTOR

    @property
    def name(self) -> str:
        """Return the method and its widths."""
        return f"ganomaly {short_text(self.network.widths)}"

    @property
    def detector(self) -> GanomalyDetector:
        """Return the detector that the step makes."""
        return GanomalyDetector(network=self.network)

    @property
    def lane_group(self) -> "GanomalyStep":
        """Return the step with default weights."""
        return self.model_copy(update={"loss_weights": GanomalyWeights()})

    def learner(self, seed: int, context: PackContext) -> "GanomalyLearner":
        """Return a learner."""
        return GanomalyLearner(self, seed)


class GanomalyLearner(Learner):
    """A generator and its discriminator, with what trains and scores them.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: GanomalyStep, seed: int) -> None:
        self._step = step
        self._generator, self._discriminator = seeded(
            seed, lambda: (step.network.generator(), step.network.discriminator())
        )
        super().__init__({DETECTOR: self._generator, "discriminator": self._discriminator})

    def objectives(self) -> Sequence[Objective]:
        """Return L of the generator and the cross-entropy of the discriminator."""
        step = self._step
        return (
            GeneratorObjective(
                ROLE, self._generator, self._discriminator, step.loss_weights, step.distance
            ),
            DiscriminatorObjective({ROLE: self._discriminator}),
        )

    def scorer(self) -> GanomalyScorer:
        """Return the scorer."""
        return GanomalyScorer(self._generator.eval())
