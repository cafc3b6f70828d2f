"""A memory of latents, read by attention. Shapes: B images, N items, Z latent numbers."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def addressed(likeness_BN: Tensor, threshold: float) -> Tensor:
    """Return the items' weights (B, N): softmax (Eq. 4), hard shrinkage (Eq. 7), sum made 1.

    They are all 0 where no item's softmax exceeds the threshold.

    Threshold leaves a weight as it is or makes it 0, and the softmax's denominator cancels when
    the sum is made 1: so values are Eq. 7's but for rounding. Slopes are those of the weights that
    are kept, and exactly 0 for all others; through Eq. 7's quotient these would be rounding errors,
    of which Adam makes whole steps. The step at the threshold has no slope here (Eq. 6); Eq. 7
    gives it a steep one to weights that are a millionth or so above it, by chance.

    Args:
        likeness_BN: of the latents to the items.
        threshold: lambda.
    """
    kept_BN = (likeness_BN.softmax(1) > threshold).to(likeness_BN.dtype)
    return functional.normalize(likeness_BN.exp() * kept_BN, p=1, dim=1)


class Memory(nn.Module):
    """Items that stand in for a latent: a mean of those that are most like it.

    Args:
        items: N.
        size: Z.
        shrinkage: the threshold, as a multiple of 1/N. Up to 1 something is read, since the
            largest of unequal weights is above their mean; beyond it a new memory, to whose items
            all latents are about equally like, may never be read, nor learn.
    """

    def __init__(self, items: int, size: int, shrinkage: float) -> None:
        super().__init__()
        bound = 1 / math.sqrt(size)
        self.items_NZ = nn.Parameter(torch.empty(items, size).uniform_(-bound, bound))
        self._threshold = shrinkage / items

    def forward(self, z_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is read (B, Z), Eq. 3, and the weights of the items (B, N)."""
        # Cosine similarities, Eq. 5.
        likeness_BN = functional.linear(
            functional.normalize(z_BZ, dim=1), functional.normalize(self.items_NZ, dim=1)
        )
        weights_BN = addressed(likeness_BN, self._threshold)
        return weights_BN @ self.items_NZ, weights_BN
