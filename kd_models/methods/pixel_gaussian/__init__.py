"""A trivial baseline: how unlikely an image's pooled pixels are under one Gaussian."""

from kd_models.methods.base import Method
from kd_models.methods.pixel_gaussian.settings import PixelGaussianSettings
from kd_models.methods.pixel_gaussian.step import PixelGaussianDetector

METHOD = Method(
    name="pixel-gaussian",
    summary="baseline: Mahalanobis distance of an image's pooled pixels",
    settings=PixelGaussianSettings,
    detector=PixelGaussianDetector,
    is_baseline=True,
)
