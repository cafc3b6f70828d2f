"""A trivial baseline: how far an image is from the nearest normal images."""

from kd_models.methods.base import Method
from kd_models.methods.knn.settings import KnnSettings
from kd_models.methods.knn.step import KnnDetector

METHOD = Method(
    name="knn",
    summary="baseline: distance of an image's pooled pixels to the nearest normal images",
    settings=KnnSettings,
    detector=KnnDetector,
    is_baseline=True,
)
