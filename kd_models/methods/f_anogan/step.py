"""The two steps of f-AnoGAN: a GAN, then an encoder to its latents."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kd_models.methods.base import Learner, NetworkStates, PackContext, seeded
from kd_models.methods.draws import Draw
from kd_models.methods.f_anogan.networks import (
    CRITIC,
    GENERATOR,
    CriticScorer,
    EncoderGenerator,
    FAnoganDetector,
    ResidualScorer,
    gan,
)
from kd_models.methods.f_anogan.objectives import (
    CRITIC_LATENTS,
    GENERATOR_LATENTS,
    PLACES,
    CriticObjective,
    EncoderObjective,
    GeneratorObjective,
)
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.objectives import Objective
from kd_models.methods.trained import NetworkStep
from kd_models.values import Count


class GanStep(NetworkStep):
    """The training of generator and critic. On its own it scores by the critic."""

    penalty: float = 10.0
    """weight of the gradient penalty"""
    critic_steps: Count = 5
    """steps of the critic for each of the generator"""

    title: ClassVar[str] = "wgan-gp"
    scored: ClassVar[str] = CRITIC

    @property
    def detector(self) -> FAnoganDetector:
        """Return the detector that the step makes."""
        return FAnoganDetector(networks=self.networks, kappa=None)

    def learner(self, seed: int, context: PackContext) -> "GanLearner":
        """Return a learner."""
        return GanLearner(self, seed)


class GanLearner(Learner):
    """Generator and critic with what trains them.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: GanStep, seed: int) -> None:
        self._step = step
        self._generator, self._critic = seeded(seed, lambda: gan(step.networks))
        super().__init__({GENERATOR: self._generator, CRITIC: self._critic})

    def draws(self) -> Mapping[str, Draw]:
        """Return the latents of both objectives, and where the gradient is taken."""
        latents = Draw((self._step.networks.latent,))
        return {
            CRITIC_LATENTS: latents,
            GENERATOR_LATENTS: latents,
            PLACES: Draw((), "uniform"),
        }

    def objectives(self) -> Sequence[Objective]:
        """Return the critic's and the generator's."""
        return (
            CriticObjective(self._critic, self._generator, self._step.penalty),
            GeneratorObjective(self._generator, self._critic, self._step.critic_steps),
        )

    def scorer(self) -> CriticScorer:
        """Return the scorer."""
        return CriticScorer(self._critic.eval())


class EncoderStep(NetworkStep):
    """The training of an encoder, generator and critic being fixed."""

    kappa: float = 1.0
    """weight of the features' residual, in the loss and in the score"""

    title: ClassVar[str] = "f-anogan"

    @property
    def detector(self) -> FAnoganDetector:
        """Return the detector that the step makes."""
        return FAnoganDetector(networks=self.networks, kappa=self.kappa)

    def learner(self, seed: int, context: PackContext) -> "EncoderLearner":
        """Return a learner."""
        return EncoderLearner(self, seed)


class EncoderLearner(Learner):
    """An encoder with what trains and scores it.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: EncoderStep, seed: int) -> None:
        self._kappa = step.kappa
        self._networks = seeded(seed, lambda: EncoderGenerator(step.networks))
        super().__init__({DETECTOR: self._networks})

    def load(self, weights: NetworkStates) -> None:
        """Take over the trained generator and critic, or a whole detector."""
        super().load(weights)
        if GENERATOR in weights:
            self._networks.load_gan(weights[GENERATOR], weights[CRITIC])

    def objectives(self) -> Sequence[Objective]:
        """Return the encoder's."""
        return (EncoderObjective(self._networks, self._kappa),)

    def scorer(self) -> ResidualScorer:
        """Return the scorer."""
        return ResidualScorer(self._networks.eval(), self._kappa)
