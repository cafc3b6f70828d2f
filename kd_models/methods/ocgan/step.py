"""OCGAN's training step, learner and score. Shapes: B images, C image channels, S pixels a side."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Learner, PackContext, seeded
from kd_models.methods.draws import Draw
from kd_models.methods.errors import mean_squared_error
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.networks import IMAGE_SIZE, Widths
from kd_models.methods.objectives import Objective
from kd_models.methods.ocgan.mining import Mining
from kd_models.methods.ocgan.networks import AutoEncoder, LatentDiscriminator
from kd_models.methods.ocgan.objectives import (
    NOISE,
    UNIFORM,
    AutoEncoderObjective,
    ClassifierObjective,
    DiscriminatorsObjective,
)
from kd_models.methods.trained import NetworkDetector, NetworkStep
from kd_models.values import Value

NotNegative = Annotated[float, Field(ge=0)]


class Constraints(Value):
    """What the auto-encoder's latent space is constrained by."""

    noise: NotNegative = 0.2
    """deviation of the noise on the images that are encoded"""
    reconstruction_weight: NotNegative = 10.0
    """lambda"""
    visual_widths: Widths = (12, 24, 48)
    """channels of D_v"""


class OcganScorer(Scorer):
    """The mean squared error of an image's reconstruction, without noise."""

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        return mean_squared_error(x_BCSS, self.student(x_BCSS)[1])


class OcganDetector(NetworkDetector):
    """An auto-encoder with a bounded latent space."""

    method: Literal["ocgan"] = "ocgan"

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        return OcganScorer(AutoEncoder(self.networks))


class OcganStep(NetworkStep):
    """The training of an auto-encoder beside its two discriminators and the classifier."""

    constraints: Constraints = Constraints()
    mining: Mining | None = None
    """how latents are mined; None: they are random"""

    title: ClassVar[str] = "ocgan"

    @property
    def name(self) -> str:
        """Return the method, the widths, and whether latents are mined."""
        return super().name + (" mined" if self.mining else "")

    @property
    def detector(self) -> OcganDetector:
        """Return the detector that the step makes."""
        return OcganDetector(networks=self.networks)

    @property
    def lane_group(self) -> Self:
        """Return the step with the default lambda."""
        weight = {"reconstruction_weight": Constraints().reconstruction_weight}
        return self.model_copy(update={"constraints": self.constraints.model_copy(update=weight)})

    def learner(self, seed: int, context: PackContext) -> "OcganLearner":
        """Return a learner."""
        return OcganLearner(self, seed)


class OcganLearner(Learner):
    """The four networks with what trains and scores them.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: OcganStep, seed: int) -> None:
        networks = step.networks
        visual = networks.model_copy(update={"widths": step.constraints.visual_widths})
        self._networks, self._constraints, self._mining = networks, step.constraints, step.mining
        self._auto_encoder, self._classifier, self._latent, self._visual = seeded(
            seed,
            lambda: (
                AutoEncoder(networks),
                networks.discriminator(),
                LatentDiscriminator(networks.latent),
                visual.discriminator(),
            ),
        )
        super().__init__(
            {
                DETECTOR: self._auto_encoder,
                "classifier": self._classifier,
                "discriminator.latent": self._latent,
                "discriminator.visual": self._visual,
            }
        )

    def draws(self) -> Mapping[str, Draw]:
        """Return the noise on the images, and what random latents are made of."""
        return {
            NOISE: Draw((self._networks.channels, IMAGE_SIZE, IMAGE_SIZE)),
            UNIFORM: Draw((self._networks.latent,), "uniform"),
        }

    def objectives(self) -> Sequence[Objective]:
        """Return what classifier, discriminators and auto-encoder minimise."""
        own = self._constraints
        return (
            ClassifierObjective(self._classifier, self._auto_encoder, own.noise),
            DiscriminatorsObjective(self._latent, self._visual),
            AutoEncoderObjective(
                self._auto_encoder,
                self._latent,
                self._visual,
                self._classifier,
                reconstruction_weight=own.reconstruction_weight,
                mining=self._mining,
            ),
        )

    def scorer(self) -> OcganScorer:
        """Return the scorer."""
        return OcganScorer(self._auto_encoder.eval())
