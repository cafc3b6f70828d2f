"""The part of a sweep file that is the pixel Gaussian's: the sides of pooled images."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import MethodSettings, Variant
from kd_models.methods.fitted import IMAGE_SIZE, Side
from kd_models.methods.pixel_gaussian.step import PixelGaussianDetector, PixelGaussianStep
from kd_models.methods.whitening import Shrinkage


class PixelGaussianSettings(MethodSettings):
    """Sides of pooled images. The defaults are settled in docs/lab-notes.md."""

    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = (8,)
    """pixels a side of the image that is looked at"""
    shrinkage: Shrinkage = 0.1
    """share of the covariance that is taken from a multiple of the identity"""

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each side."""
        for side in self.sides:
            detector = PixelGaussianDetector(
                colours=dataset.channels, side=side, shrinkage=self.shrinkage
            )
            step = PixelGaussianStep(fitted=detector)
            yield Variant({"side": side}, IMAGE_SIZE, ((step, None),))
