"""GANomaly (ACCV 2018): an image is novel where its reconstruction has another latent."""

from kd_models.methods.base import Method
from kd_models.methods.ganomaly.published import PUBLISHED
from kd_models.methods.ganomaly.scores import GanomalyDetector
from kd_models.methods.ganomaly.settings import GanomalySettings

METHOD = Method(
    name="ganomaly",
    summary="encoder-decoder-encoder GAN, scored by the distance of latents (GANomaly, ACCV 2018)",
    settings=GanomalySettings,
    detector=GanomalyDetector,
    published=PUBLISHED,
)
