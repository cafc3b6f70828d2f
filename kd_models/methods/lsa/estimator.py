"""The autoregressive estimator: how a latent's numbers are distributed, each given those before.

Shapes: B images in a batch, Z latent numbers, I and O features of each of them before and after a
layer, K bins.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from kd_models.values import Count, Value


class EstimatorSettings(Value):
    """The size of an estimator."""

    layers: Count = 4
    """before the one that gives the bins"""
    features: Count = 32
    """of each latent number in these layers"""
    bins: Annotated[int, Field(ge=2)] = 100
    """K, into which a latent number from 0 to 1 is quantised"""


class MaskedLinear(nn.Linear):
    """A masked fully connected layer (the paper's MFC): (B, Z * I) to (B, Z * O).

    The features of one latent number lie beside each other.

    Args:
        kind: ``A``: features of a number see those of the numbers before it; ``B``: its own too.
        latent: Z.
        fan_in: I.
        fan_out: O.
    """

    _mask: Tensor

    def __init__(self, kind: Literal["A", "B"], latent: int, fan_in: int, fan_out: int) -> None:
        super().__init__(latent * fan_in, latent * fan_out)
        seen_ZZ = torch.ones(latent, latent).tril(-1 if kind == "A" else 0)
        # Not the whole weight's: that would take as much memory again.
        self.register_buffer("_mask", seen_ZZ[:, None, :, None], persistent=False)
        self._blocks = (latent, fan_out, latent, fan_in)
        with torch.no_grad():
            self.weight.copy_(self._masked())

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, Z * O)."""
        # Masked weights are 0 from the start and get no gradient, so that they stay 0: deployed,
        # the layer need not be masked.
        return F.linear(x, self._masked() if self.training else self.weight, self.bias)

    def _masked(self) -> Tensor:
        masked: Tensor = (self.weight.view(self._blocks) * self._mask).view_as(self.weight)
        return masked


class Estimator(nn.Module):
    """From a latent to the distribution of each of its numbers, given those before it.

    Args:
        latent: Z.
        settings: its size.
    """

    def __init__(self, latent: int, settings: EstimatorSettings) -> None:
        super().__init__()
        self._shape = (latent, settings.bins)
        layers: list[nn.Module] = [MaskedLinear("A", latent, 1, settings.features), nn.LeakyReLU()]
        for _ in range(settings.layers - 1):
            layers += [
                MaskedLinear("B", latent, settings.features, settings.features),
                nn.LeakyReLU(),
            ]
        layers.append(MaskedLinear("B", latent, settings.features, settings.bins))
        self.layers = nn.Sequential(*layers)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Return the logits of the bins (B, Z, K)."""
        logits: Tensor = self.layers(z_BZ).unflatten(1, self._shape)
        return logits
