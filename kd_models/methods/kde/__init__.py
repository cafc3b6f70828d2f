"""Kernel density estimation (Parzen, 1962): how dense normal images are around an image."""

from kd_models.methods.base import Method
from kd_models.methods.kde.published import PUBLISHED
from kd_models.methods.kde.settings import KdeSettings
from kd_models.methods.kde.step import KdeDetector

METHOD = Method(
    name="kde",
    summary="kernel density estimate of an image's pooled pixels (Parzen 1962)",
    settings=KdeSettings,
    detector=KdeDetector,
    published=PUBLISHED,
)
