"""VAE (Kingma and Welling, ICLR 2014): images are scored by a bound on their likelihood."""

from kd_models.methods.base import Method, Published
from kd_models.methods.trained import beside_default_widths
from kd_models.methods.vae.settings import VaeSettings
from kd_models.methods.vae.step import VaeDetector

METHOD = Method(
    name="vae",
    summary="variational auto-encoder, scored by the bound on the likelihood (ICLR 2014)",
    settings=VaeSettings,
    detector=VaeDetector,
    # P-KDGAN, Table 2.
    published=beside_default_widths({"mnist": Published(0.9696), "cifar10": Published(0.5833)}),
)
