"""OCGAN (CVPR 2019): an auto-encoder all of whose latent space shows the normal class."""

from kd_models.methods.base import Method
from kd_models.methods.ocgan.published import PUBLISHED
from kd_models.methods.ocgan.settings import OcganSettings
from kd_models.methods.ocgan.step import OcganDetector

METHOD = Method(
    name="ocgan",
    summary="denoising auto-encoder with an adversarially constrained latent space (CVPR 2019)",
    settings=OcganSettings,
    detector=OcganDetector,
    published=PUBLISHED,
)
