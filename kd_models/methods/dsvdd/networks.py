"""The LeNet-type networks of Deep SVDD (Section 4.2) and the hypersphere around their codes.

Shapes: B images in a batch, N training images, C image channels, S = 32 pixels a side, Z numbers of
a code.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.evaluation.scoring import over_images
from kd_models.methods.base import CannotTrain
from kd_models.methods.dsvdd.losses import best_radius
from kd_models.methods.errors import squared_error
from kd_models.methods.networks import IMAGE_SIZE
from kd_models.values import Count, Value
from kd_models.world import World

Network = TypeVar("Network", bound=nn.Module)

LenetWidths = Annotated[tuple[Count, ...], Field(min_length=2, max_length=4)]
"""filters of each module of the encoder, which halves the sides of its images"""

Latent = Annotated[int, Field(ge=16, multiple_of=16)]
"""numbers of a code, which the decoder takes for an image of 4 x 4 pixels"""

Contrast = Literal["l1", "none"]

_CODE_SIDE = 4
_LEAKINESS = 0.1
_LEAST_CONTRAST = 1e-6
"""less than that of any 8-bit image with more than one grey level in it"""
_LEAST_CENTRE = 0.1


class ContrastNormalisation(nn.Module):
    """Global contrast normalisation with the L1 norm, then training images' values to [0, 1].

    Each image loses its mean and is divided by its mean absolute deviation, over all of its pixels
    and channels. The paper takes the smallest and largest value over the training images.
    """

    def __init__(self) -> None:
        super().__init__()
        # Parameters, since they have to be deployed and count as such; no optimizer trains them.
        self.least = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.most = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the images (B, C, S, S); those of training images lie in [0, 1]."""
        return (_normalised(x_BCSS) - self.least) / (self.most - self.least)

    @torch.no_grad()
    def fit(self, images: Tensor, world: World) -> None:
        """Fit the range to the training images (N, C, S, S).

        Raises:
            CannotTrain: none of them has any contrast.
        """

        def extremes(rows: Tensor) -> Tensor:
            normalised = _normalised(rows).flatten(1)
            return torch.stack([normalised.amin(1), normalised.amax(1)], 1)

        found_N2 = over_images(extremes, images, world)
        least, most = found_N2[:, 0].min(), found_N2[:, 1].max()
        # Its mean absolute deviation is 1 as soon as one image has any.
        if not most - least > 1:
            raise CannotTrain("every training image is of one brightness all over")
        self.least.copy_(least)
        self.most.copy_(most)


class PlainRange(nn.Module):
    """Images in [-1, 1] to [0, 1], with their contrasts as they are."""

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the images (B, C, S, S)."""
        return (x_BCSS + 1) / 2

    def fit(self, images: Tensor, world: World) -> None:
        """Do nothing."""


class LenetEncoder(nn.Module):
    """Modules of a 5x5 convolution, leaky ReLU and 2x2 max-pooling, then a dense layer.

    Without any bias or affine batch norm: with them a network could map everything to the centre
    (Proposition 2).

    Args:
        channels: image channels C.
        widths: filters of each module.
        latent: Z.
    """

    def __init__(self, channels: int, widths: Sequence[int], latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, width in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [_convolution(fan_in, width), *_activation(width), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        side = IMAGE_SIZE >> len(widths)
        self.dense = nn.Linear(widths[-1] * side * side, latent, bias=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the codes phi(x) (B, Z)."""
        codes: Tensor = self.dense(self.features(x_BCSS))
        return codes


class LenetDecoder(nn.Module):
    """The encoder mirrored: codes (B, Z), taken for images of 4 x 4 pixels, to images in [0, 1].

    Upsampling stands for max-pooling, each before a convolution.

    Args:
        channels: image channels C.
        widths: those of the encoder.
        latent: Z.
    """

    def __init__(self, channels: int, widths: Sequence[int], latent: int) -> None:
        super().__init__()
        outs = [*reversed(widths), channels]
        fan_ins = [latent // _CODE_SIDE**2, *outs[:-1]]
        doublings = (IMAGE_SIZE // _CODE_SIDE).bit_length() - 1
        layers: list[nn.Module] = [nn.LeakyReLU(_LEAKINESS)]
        for place, (fan_in, out) in enumerate(zip(fan_ins, outs, strict=True)):
            if place > 0:
                layers += _activation(fan_in)
            if place >= len(outs) - doublings:
                layers.append(nn.Upsample(scale_factor=2))
            layers.append(_convolution(fan_in, out))
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, codes_BZ: Tensor) -> Tensor:
        """Return the images (B, C, S, S)."""
        images: Tensor = self.layers(codes_BZ.unflatten(1, (-1, _CODE_SIDE, _CODE_SIDE)))
        return images


class Hypersphere(nn.Module):
    """An encoder, and the hypersphere in which it is to map normal images.

    Args:
        networks: the encoder's shape.

    Attributes:
        contrast: what is done to images before, here so that it is deployed too.
        centre: c (Z,). Like the radius a parameter that no optimizer trains: it is deployed, it
            counts, and it is stored and resumed with the weights.
        radius: R^2, which is 0 where there is no soft boundary.
    """

    def __init__(self, networks: "LenetNetworks") -> None:
        super().__init__()
        self.contrast = ContrastNormalisation() if networks.contrast == "l1" else PlainRange()
        self.encoder = LenetEncoder(networks.channels, networks.widths, networks.latent)
        self.centre = nn.Parameter(torch.zeros(networks.latent), requires_grad=False)
        self.radius = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the novelty scores (B,): squared distances to the centre, less R^2 (Eq. 5)."""
        return self.distances(x_BCSS) - self.radius

    def codes(self, x_BCSS: Tensor) -> Tensor:
        """Return the codes phi(x) (B, Z)."""
        codes: Tensor = self.encoder(self.contrast(x_BCSS))
        return codes

    def distances(self, x_BCSS: Tensor) -> Tensor:
        """Return ||phi(x) - c||^2 of each image (B,), the terms of Eq. 4 and the score (Eq. 5)."""
        return squared_error(self.codes(x_BCSS), self.centre)

    @torch.no_grad()
    def fit_centre(self, images: Tensor, world: World) -> None:
        """Put the centre to the mean code of the training images (N, C, S, S).

        Components nearer to 0 than 0.1 are moved to 0.1 or -0.1, since a component of 0 is met by
        weights of 0 (Proposition 1).
        """
        self.eval()
        codes_NZ = over_images(self.codes, images, world)
        mean_Z = codes_NZ.mean(0)
        least = mean_Z.new_tensor(_LEAST_CENTRE)
        signed_Z = torch.where(mean_Z < 0, -least, least)
        self.centre.copy_(torch.where(mean_Z.abs() < least, signed_Z, mean_Z))

    @torch.no_grad()
    def fit_radius(self, images: Tensor, nu: float, world: World) -> None:
        """Put R^2 to the (1 - nu)-quantile of the training images (N, C, S, S) (Section 3.2)."""
        self.eval()
        self.radius.copy_(best_radius(over_images(self.distances, images, world), nu))


class LenetNetworks(Value):
    """An encoder and its decoder."""

    channels: Count
    widths: LenetWidths
    latent: Latent
    """Z"""
    contrast: Contrast
    """what is done to each image first"""

    def hypersphere(self) -> Hypersphere:
        """Return a hypersphere whose encoder has initial weights."""
        return initialise(Hypersphere(self))

    def decoder(self) -> LenetDecoder:
        """Return a decoder with initial weights."""
        return initialise(LenetDecoder(self.channels, self.widths, self.latent))


def weights_of(*networks: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of all convolutions and dense layers."""
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                yield module.weight


def initialise(network: Network) -> Network:
    """Draw all weights from Glorot's uniform distribution (Section 4.2).

    Returns:
        The network.
    """
    for weight in weights_of(network):
        nn.init.xavier_uniform_(weight)
    return network


def _normalised(x_BCSS: Tensor) -> Tensor:
    centred = x_BCSS - x_BCSS.mean((1, 2, 3), keepdim=True)
    return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=_LEAST_CONTRAST)


def _convolution(fan_in: int, width: int) -> nn.Module:
    return nn.Conv2d(fan_in, width, 5, padding=2, bias=False)


def _activation(width: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(width, eps=1e-4, affine=False), nn.LeakyReLU(_LEAKINESS)]
