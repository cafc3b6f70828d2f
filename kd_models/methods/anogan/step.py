"""AnoGAN's training step, learner and detector."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.anogan.objectives import UNIFORM, DiscriminatorObjective, GeneratorObjective
from kd_models.methods.anogan.search import LatentSearch, Search
from kd_models.methods.base import Learner, PackContext, seeded
from kd_models.methods.draws import Draw
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.networks import ConvNetworks, Discriminator
from kd_models.methods.objectives import Objective
from kd_models.methods.trained import NetworkDetector, NetworkStep


def gan(networks: ConvNetworks, search: Search) -> tuple[LatentSearch, Discriminator]:
    """Return a generator, as part of a search, and its discriminator, with initial weights."""
    discriminator = networks.discriminator()
    return LatentSearch(networks, discriminator, search), discriminator


class AnoganDetector(NetworkDetector):
    """A generator, a discriminator's features, and a search by both."""

    method: Literal["anogan"] = "anogan"
    search: Search = Search()

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded: what the search ends with."""
        return Scorer(gan(self.networks, self.search)[0])


class AnoganStep(NetworkStep):
    """The training of a generator and a discriminator."""

    search: Search = Search()
    """how images are scored"""

    title: ClassVar[str] = "anogan"

    @property
    def detector(self) -> AnoganDetector:
        """Return the detector that the step makes."""
        return AnoganDetector(networks=self.networks, search=self.search)

    def learner(self, seed: int, context: PackContext) -> "AnoganLearner":
        """Return a learner."""
        return AnoganLearner(self, seed)


class AnoganLearner(Learner):
    """A generator and a discriminator with what trains them and scores by them.

    Args:
        step: the step.
        seed: of the initial weights, and of the latent at which a search starts.
    """

    def __init__(self, step: AnoganStep, seed: int) -> None:
        self._latent = step.networks.latent
        self._search, self._discriminator = seeded(seed, lambda: gan(step.networks, step.search))
        # Its features are the detector's; its last layer is not deployed.
        super().__init__({DETECTOR: self._search, "head": self._discriminator.head})

    def draws(self) -> Mapping[str, Draw]:
        """Return what the latents of generated images are made of."""
        return {UNIFORM: Draw((self._latent,), "uniform")}

    def objectives(self) -> Sequence[Objective]:
        """Return the generator's and the discriminator's."""
        return (
            GeneratorObjective(self._search.generator, self._discriminator),
            DiscriminatorObjective(self._discriminator),
        )

    def scorer(self) -> Scorer:
        """Return the scorer: what the search ends with is the score."""
        return Scorer(self._search.eval())
