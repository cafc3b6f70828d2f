"""What steps have in common that fit a detector to the normal images, without any epochs."""

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, Learner, PackContext, Step
from kd_models.values import Count
from kd_models.world import World

DETECTOR = "detector"
"""the name of the network that such a step stores"""

IMAGE_SIZE = 32
"""pixels a side of the images that these detectors take"""

Side = Annotated[int, Field(ge=1, le=IMAGE_SIZE)]


class FittedNetwork(nn.Module):
    """A network from images (B, C, S, S) to scores (B,) that is fitted rather than trained."""

    @abstractmethod
    def fit(self, images: Tensor) -> None:
        """Fit it to the normal images (N, C, S, S).

        Raises:
            CannotTrain: there is nothing to be had from these images.
        """


class PixelNetwork(FittedNetwork):
    """A fitted network that looks at pooled pixels.

    Args:
        channels: of the images.
        side: pixels a side of the pooled image.

    Attributes:
        pool: images to rows (B, F) of pooled pixels.
        size: F.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.size = channels * side * side


class FittedDetector(Detector):
    """A detector that is a fitted network."""

    colours: Count

    @property
    def channels(self) -> int:
        """Return the channels of its images."""
        return self.colours


class PixelDetector(FittedDetector):
    """A detector that looks at pooled pixels."""

    side: Count
    """pixels a side of the pooled image"""


class FittedLearner(Learner):
    """A fitted network, which every process fits alike.

    Args:
        network: the network.
    """

    def __init__(self, network: FittedNetwork) -> None:
        super().__init__({DETECTOR: network})
        self._network = network

    @torch.no_grad()
    def fit(self, images: Tensor, world: World) -> None:
        """Fit the network to the training images (N, C, S, S)."""
        self._network.fit(images)

    def scorer(self) -> Scorer:
        """Return the scorer: the network's output is the score."""
        return Scorer(self._network.eval())


class UnseededStep(Step):
    """A step that trains nothing: no seed changes its result."""

    scored: ClassVar[str] = DETECTOR

    def seed_of(self, seed: int) -> int:
        """Return 0."""
        return 0


class CalibrationLearner(Learner):
    """Trained networks to whose scores something is fitted, by :meth:`calibrate` alone."""

    def fit(self, images: Tensor, world: World) -> None:
        """Do nothing."""


class FittedStep(UnseededStep):
    """The one step of a method that trains nothing."""

    fitted: SerializeAsAny[FittedDetector]

    @property
    def name(self) -> str:
        """Return the method and its detector's value on the method's axis."""
        return f"{self.fitted.method} {getattr(self.fitted, self.axis)}"

    @property
    def detector(self) -> FittedDetector:
        """Return the detector that is fitted."""
        return self.fitted

    def learner(self, seed: int, context: PackContext) -> FittedLearner:
        """Return a learner that is fitted."""
        network = self.detector.scorer().student
        assert isinstance(network, FittedNetwork)
        return FittedLearner(network)
