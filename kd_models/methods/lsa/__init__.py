"""AND (Abati et al., CVPR 2019): how well an image is reconstructed, and how likely its latent is.

The papers that compare with it call it so; the paper itself speaks of latent space autoregression.
"""

from kd_models.methods.base import Method, Published
from kd_models.methods.lsa.settings import LsaSettings
from kd_models.methods.lsa.step import LsaDetector
from kd_models.methods.trained import beside_default_widths

METHOD = Method(
    name="lsa",
    summary="latent space autoregression, the tables' AND (CVPR 2019)",
    settings=LsaSettings,
    detector=LsaDetector,
    # P-KDGAN, Table 2: AND of the sizes of its own paper.
    published=beside_default_widths({"mnist": Published(0.9671), "cifar10": Published(0.6172)}),
)
