"""AnoGAN (Schlegl et al., IPMI 2017): images are scored by the nearest that a GAN can make."""

from kd_models.methods.anogan.settings import AnoganSettings
from kd_models.methods.anogan.step import AnoganDetector
from kd_models.methods.base import Method, Published
from kd_models.methods.trained import beside_default_widths

METHOD = Method(
    name="anogan",
    summary="a GAN and a search for the nearest image that it can make; slow (IPMI 2017)",
    settings=AnoganSettings,
    detector=AnoganDetector,
    # P-KDGAN, Table 2.
    published=beside_default_widths({"mnist": Published(0.9127), "cifar10": Published(0.6179)}),
)
