"""The search for the latent whose image is nearest to an image.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.methods.anogan.layers import gradient_before, layers_of, outputs_of, sign_of
from kd_models.methods.anogan.losses import absolute_error, mapping_loss
from kd_models.methods.networks import ConvNetworks, Discriminator
from kd_models.values import Value

MOST_STEPS = 64
"""of a search: each is part of the exported graph, and exporting more takes minutes"""

_BETAS = (0.9, 0.999)
_EPS = 1.0
"""of Adam; large, so that rounding cannot turn a step along a gradient of next to nothing"""


class Search(Value):
    """Adam's steps from a fixed latent to one whose image is near to an image."""

    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 16
    rate: Annotated[float, Field(gt=0)] = 0.2
    """learning rate of the first step; it falls to 0 in a straight line"""
    feature_weight: Annotated[float, Field(ge=0, le=1)] = 0.1
    """lambda: weight of the features' difference, while 1 - lambda is the image's"""


class LatentSearch(nn.Module):
    """Images to the loss at the latent that is found for each: the score.

    Args:
        networks: their shapes.
        discriminator: by whose features images are compared; they become part of this network.
        search: how the latent is looked for.
    """

    def __init__(
        self, networks: ConvNetworks, discriminator: Discriminator, search: Search
    ) -> None:
        super().__init__()
        self.generator = networks.decoder()
        self.features = discriminator.features
        # The same for every image: a score depends on nothing but the image.
        self.start_Z = nn.Parameter(latents(torch.rand(networks.latent)), requires_grad=False)
        self._search = search

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return L of each image (B,) at the last latent, by the networks' running statistics."""
        search = self._search
        generator, features = layers_of(self.generator.layers), layers_of(self.features)
        f_x = outputs_of(features, x_BCSS)[-1]
        z = self.start_Z[:, None, None].expand(x_BCSS.shape[0], -1, 1, 1)
        state = _State(z, torch.zeros_like(z), torch.zeros_like(z))
        for step in range(search.steps):
            images = outputs_of(generator, state.z)
            seen = outputs_of(features, images[-1])
            gradient = mapping_loss(
                sign_of(images[-1] - x_BCSS),
                gradient_before(features, seen, sign_of(seen[-1] - f_x)),
                search.feature_weight,
            )
            state = state.moved(gradient_before(generator, images, gradient), step, search)
        x_hat = outputs_of(generator, state.z)[-1]
        f_x_hat = outputs_of(features, x_hat)[-1]
        return mapping_loss(
            absolute_error(x_BCSS, x_hat), absolute_error(f_x, f_x_hat), search.feature_weight
        )


def latents(uniform: Tensor) -> Tensor:
    """Return latents, uniform from -1 to 1, of numbers that are uniform from 0 to 1."""
    return 2 * uniform - 1


@dataclass(frozen=True, eq=False)
class _State:
    """A latent (B, Z, 1, 1) and what Adam keeps of its gradients."""

    z: Tensor
    mean: Tensor
    square: Tensor

    def moved(self, gradient: Tensor, step: int, search: Search) -> "_State":
        """Return the state after a step, counted from 0, of a search (Kingma and Ba 2015)."""
        first, second = _BETAS
        mean = first * self.mean + (1 - first) * gradient
        square = second * self.square + (1 - second) * gradient.square()
        rate = search.rate * (1 - step / search.steps) / (1 - first ** (step + 1))
        deviation = (square / (1 - second ** (step + 1))).sqrt()
        return _State(self.z - rate * mean / (deviation + _EPS), mean, square)
