"""f-AnoGAN (Schlegl et al., Medical Image Analysis 2019): a GAN, and an encoder to its latents."""

from kd_models.methods.base import Method
from kd_models.methods.f_anogan.networks import FAnoganDetector
from kd_models.methods.f_anogan.published import PUBLISHED
from kd_models.methods.f_anogan.settings import FAnoganSettings

METHOD = Method(
    name="f-anogan",
    summary="a GAN and an encoder to its latents: what it cannot make is novel (MedIA 2019)",
    settings=FAnoganSettings,
    detector=FAnoganDetector,
    published=PUBLISHED,
)
