"""A trivial baseline: how far an image is from the plane of principal components."""

from kd_models.methods.base import Method
from kd_models.methods.pca.settings import PcaSettings
from kd_models.methods.pca.step import PcaDetector

METHOD = Method(
    name="pca",
    summary="baseline: reconstruction error of an image's pooled pixels by principal components",
    settings=PcaSettings,
    detector=PcaDetector,
    is_baseline=True,
)
