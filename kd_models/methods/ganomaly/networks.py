"""The encoder-decoder-encoder GAN of GANomaly (ACCV 2018), with the layers of IJCAI 2020, Table 1.

Shapes: B images in a batch, C image channels, S = 32 pixels a side, Z = 256 latent channels.
Large and small ones are the same network at other widths.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from kd_models.methods.networks import (
    IMAGE_SIZE,
    LATENT,
    Decoder,
    Discriminator,
    Encoder,
    Normalisation,
    Widths,
    initialise,
)
from kd_models.values import Count, Value


class Reconstruction(NamedTuple):
    """What a generator makes of images x_BCSS."""

    z1_BZ: Tensor
    """latent of the image, G_E(x)"""
    x_hat_BCSS: Tensor
    """reconstruction in [-1, 1], G_D(z1)"""
    z2_BZ: Tensor
    """latent of the reconstruction, G_R(x_hat)"""


class Generator(nn.Module):
    """G = G_E -> G_D -> E (Section 3.1, Fig. 2)."""

    def __init__(
        self, channels: int, widths: Sequence[int], normalisation: Normalisation = "batch"
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths, LATENT, normalisation)
        self.decoder = Decoder(channels, widths, normalisation)
        self.re_encoder = Encoder(channels, widths, LATENT, normalisation)
        initialise(self)

    def forward(self, x_BCSS: Tensor) -> Reconstruction:
        """Return latent, reconstruction and its latent."""
        z1, _ = self.encoder(x_BCSS)
        x_hat = self.decoder(z1)
        z2, _ = self.re_encoder(x_hat)
        return Reconstruction(z1, x_hat, z2)


class NetworkConfig(Value):
    """One generator and discriminator pair."""

    channels: Count
    widths: Widths
    normalisation: Normalisation = "batch"

    @property
    def features(self) -> int:
        """Return how many numbers f(x) is."""
        return self.widths[-1] * (IMAGE_SIZE // 8) ** 2

    def generator(self) -> Generator:
        """Return a generator with initial weights."""
        return Generator(self.channels, self.widths, self.normalisation)

    def discriminator(self) -> Discriminator:
        """Return a discriminator with initial weights."""
        return Discriminator(self.channels, self.widths, self.normalisation)
