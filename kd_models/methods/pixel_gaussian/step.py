"""How unlikely an image's pooled pixels are under one Gaussian."""

from typing import ClassVar, Literal

from torch import Tensor

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.fitted import FittedStep, PixelDetector, PixelNetwork
from kd_models.methods.gaussian import Gaussian
from kd_models.methods.whitening import Shrinkage


class PixelGaussian(PixelNetwork):
    """Mahalanobis distance of an image that is pooled to ``side`` x ``side``."""

    def __init__(self, channels: int, side: int, shrinkage: float) -> None:
        super().__init__(channels, side)
        self.gaussian = Gaussian(self.size)
        self._shrinkage = shrinkage

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the scores (B,)."""
        scores: Tensor = self.gaussian(self.pool(x_BCSS))
        return scores

    def fit(self, images: Tensor) -> None:
        """Fit the Gaussian to the images (N, C, S, S)."""
        self.gaussian.fit(self.pool(images), shrinkage=self._shrinkage)


class PixelGaussianDetector(PixelDetector):
    """A Gaussian of pooled pixels."""

    method: Literal["pixel-gaussian"] = "pixel-gaussian"
    shrinkage: Shrinkage

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        return Scorer(PixelGaussian(self.colours, self.side, self.shrinkage))


class PixelGaussianStep(FittedStep):
    """The fit of one Gaussian."""

    axis: ClassVar[str] = "side"
    fitted: PixelGaussianDetector
