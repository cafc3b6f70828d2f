"""The convolutional encoder and decoder that methods share (IJCAI 2020 paper, Table 1).

Shapes: B images in a batch, C image channels, S = 32 pixels a side, Z latent channels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeVar

from torch import Tensor, nn

from kd_models.values import Count, Value

Network = TypeVar("Network", bound=nn.Module)

IMAGE_SIZE = 32
LATENT = 256

Widths = tuple[Count, Count, Count]
"""channels after each of the encoder's three stride-2 convolutions"""

WIDE: Widths = (64, 128, 256)
"""of the networks that students are made of smaller"""

Normalisation = Literal["batch", "per-image"]


def _normalisation(kind: Normalisation, width: int) -> nn.Module:
    # At batch 1, batch statistics are those of one image; instance norm keeps exactly that
    # at scoring time, where running averages would leave the network at chance (docs/adr/0002).
    if kind == "per-image":
        return nn.InstanceNorm2d(width, affine=True)
    return nn.BatchNorm2d(width)


class Encoder(nn.Module):
    """Three stride-2 convolutions, then one valid 4x4 convolution to ``out`` channels, bare.

    Args:
        channels: image channels C.
        widths: channels after each of the three stride-2 convolutions.
        out: channels of the last convolution (256 for a latent, 1 for a logit).
        normalisation: ``batch`` (the papers) or ``per-image`` (instance norm, for batch size 1).
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        out: int,
        normalisation: Normalisation = "batch",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, width in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [
                nn.Conv2d(fan_in, width, 4, stride=2, padding=1, bias=False),
                _normalisation(normalisation, width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], out, 4, bias=False)

    def forward(self, x_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(head output (B, out), features f(x) before it (B, widths[-1], 4, 4))``."""
        features = self.features(x_BCSS)
        return self.head(features).flatten(1), features


class Decoder(nn.Module):
    """The encoder mirrored: latent (B, Z) to image (B, C, S, S) in [-1, 1].

    Args:
        channels: image channels C.
        widths: those of the encoder.
        normalisation: as the encoder's.
        latent: Z.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        normalisation: Normalisation = "batch",
        latent: int = LATENT,
    ) -> None:
        super().__init__()
        w1, w2, w3 = widths
        up = partial(nn.ConvTranspose2d, kernel_size=4, bias=False)
        self.layers = nn.Sequential(
            up(latent, w3),
            _normalisation(normalisation, w3),
            nn.ReLU(inplace=True),
            up(w3, w2, stride=2, padding=1),
            _normalisation(normalisation, w2),
            nn.ReLU(inplace=True),
            up(w2, w1, stride=2, padding=1),
            _normalisation(normalisation, w1),
            nn.ReLU(inplace=True),
            up(w1, channels, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Return the image (B, C, S, S)."""
        image: Tensor = self.layers(z_BZ[:, :, None, None])
        return image


class Discriminator(Encoder):
    """D: the encoder with a single logit; forward returns ``(logit (B, 1), f(x))``."""

    def __init__(
        self, channels: int, widths: Sequence[int], normalisation: Normalisation = "batch"
    ) -> None:
        super().__init__(channels, widths, 1, normalisation)
        initialise(self)


class ConvNetworks(Value):
    """Encoders, decoders and discriminators that fit one another.

    Of the methods that train networks of no shape of their own.
    """

    channels: Count
    widths: Widths
    latent: Count
    """Z"""

    def encoder(self, out: int | None = None) -> Encoder:
        """Return an encoder with initial weights, to ``out`` numbers or Z."""
        return initialise(Encoder(self.channels, self.widths, out or self.latent))

    def decoder(self) -> Decoder:
        """Return a decoder with initial weights."""
        return initialise(Decoder(self.channels, self.widths, latent=self.latent))

    def discriminator(self) -> Discriminator:
        """Return a discriminator with initial weights."""
        return Discriminator(self.channels, self.widths)


def initialise(network: Network) -> Network:
    """Initialise as DCGAN does: convolutions N(0, 0.02), norm weights N(1, 0.02), biases 0.

    Returns:
        The network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
    return network
