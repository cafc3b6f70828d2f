"""A baseline: how far an image's gradients are from what those of normal images are like."""

from kd_models.methods.base import Method
from kd_models.methods.hog.settings import HogSettings
from kd_models.methods.hog.step import HogDetector

METHOD = Method(
    name="hog",
    summary="baseline: distance of histograms of an image's gradients to the nearest prototype",
    settings=HogSettings,
    detector=HogDetector,
    is_baseline=True,
)
