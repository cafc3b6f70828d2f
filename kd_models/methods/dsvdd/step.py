"""The two stages of Deep SVDD: an auto-encoder, then the hypersphere from its encoder on."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, Learner, PackContext, Step, seeded
from kd_models.methods.dsvdd.networks import LenetNetworks
from kd_models.methods.dsvdd.objectives import (
    AutoEncoderObjective,
    OneClassObjective,
    SoftBoundaryObjective,
)
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.objectives import Objective
from kd_models.world import World

SvddObjective = Literal["one-class", "soft-boundary"]
Decay = Annotated[float, Field(ge=0)]
"""lambda of Eq. 3 and 4"""
Outside = Annotated[float, Field(gt=0, lt=1)]
"""nu of Eq. 3: the share of images that may lie outside of a soft boundary"""

_DECODER = "decoder"


class DsvddDetector(Detector):
    """An encoder, and the hypersphere around its codes of normal images."""

    method: Literal["dsvdd"] = "dsvdd"
    networks: LenetNetworks

    @property
    def channels(self) -> int:
        """Return the channels of its images."""
        return self.networks.channels

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded: the network's output is the score."""
        return Scorer(self.networks.hypersphere())


class DsvddStep(Step):
    """A stage of Deep SVDD."""

    networks: LenetNetworks
    weight_decay: Decay

    axis: ClassVar[str] = "objective"
    scored: ClassVar[str] = DETECTOR

    @property
    def detector(self) -> DsvddDetector:
        """Return the detector that the stage makes, of both alike."""
        return DsvddDetector(networks=self.networks)


class AutoEncoderStep(DsvddStep):
    """The training of an auto-encoder, one for all objectives.

    It scores images as Deep SVDD of no epochs would.
    """

    @property
    def name(self) -> str:
        """Return what is trained."""
        return "auto-encoder"

    def learner(self, seed: int, context: PackContext) -> "AutoEncoderLearner":
        """Return a learner."""
        return AutoEncoderLearner(self, seed)


class AutoEncoderLearner(Learner):
    """An auto-encoder; around its codes a hypersphere is fitted to score with.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: AutoEncoderStep, seed: int) -> None:
        self._step = step
        networks = step.networks
        self._network, self._decoder = seeded(
            seed, lambda: (networks.hypersphere(), networks.decoder())
        )
        super().__init__({DETECTOR: self._network, _DECODER: self._decoder})

    def prepare(self, images: Tensor, world: World) -> None:
        """Fit the normalisation of contrasts to the images (N, C, S, S)."""
        self._network.contrast.fit(images, world)

    def objectives(self) -> Sequence[Objective]:
        """Return the reconstruction's."""
        return (AutoEncoderObjective(self._network, self._decoder, self._step.weight_decay),)

    def calibrate(self, images: Tensor, world: World) -> None:
        """Put the centre to the mean code of the images (N, C, S, S)."""
        self._network.fit_centre(images, world)

    def scorer(self) -> Scorer:
        """Return the scorer."""
        return Scorer(self._network.eval())


class SvddStep(DsvddStep):
    """The training of a hypersphere."""

    objective: SvddObjective
    nu: Outside | None
    """of a soft boundary; None for the one-class objective"""

    @property
    def name(self) -> str:
        """Return the objective."""
        return self.objective

    def learner(self, seed: int, context: PackContext) -> "SvddLearner":
        """Return a learner."""
        return SvddLearner(self, seed)


class SvddLearner(Learner):
    """A hypersphere; its encoder's weights come from an auto-encoder, if there is one.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: SvddStep, seed: int) -> None:
        self._step = step
        self._network = seeded(seed, step.networks.hypersphere)
        super().__init__({DETECTOR: self._network})

    def prepare(self, images: Tensor, world: World) -> None:
        """Fix the centre at the mean code of the images (N, C, S, S), by the initial weights.

        A training that goes on comes here with its initial weights too: the state that is put back
        afterwards holds the centre it began with, which is the same.
        """
        self._network.contrast.fit(images, world)
        self._network.fit_centre(images, world)

    def objectives(self) -> Sequence[Objective]:
        """Return the one that the step names."""
        decay, nu = self._step.weight_decay, self._step.nu
        if nu is None:
            return (OneClassObjective(self._network, decay),)
        return (SoftBoundaryObjective(self._network, nu, decay),)

    def calibrate(self, images: Tensor, world: World) -> None:
        """Put the radius of a soft boundary where nu of the images (N, C, S, S) are outside."""
        if self._step.nu is not None:
            self._network.fit_radius(images, self._step.nu, world)

    def scorer(self) -> Scorer:
        """Return the scorer."""
        return Scorer(self._network.eval())
