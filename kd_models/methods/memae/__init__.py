"""MemAE (Gong et al., ICCV 2019): images are reconstructed from a memory of normal latents."""

from kd_models.methods.base import Method
from kd_models.methods.memae.published import PUBLISHED
from kd_models.methods.memae.settings import MemaeSettings
from kd_models.methods.memae.step import MemaeDetector

METHOD = Method(
    name="memae",
    summary="auto-encoder that reconstructs from a memory of normal latents (ICCV 2019)",
    settings=MemaeSettings,
    detector=MemaeDetector,
    published=PUBLISHED,
)
