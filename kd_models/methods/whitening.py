"""Feature vectors in a space where every direction means as much as in normal images.

Shapes: B images, N training images, F features, K components.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.methods.base import CannotTrain

Shrinkage = Annotated[float, Field(gt=0, le=1)]
"""share of a covariance that is taken from a multiple of the identity"""


_ROUNDING = 1e-6
"""share of a row's squared length that what is left of it by rounding stays below"""


class Whitening(nn.Module):
    """A map after which normal images vary alike in every direction.

    What is fitted are parameters, since they have to be deployed and count as such, but no
    optimizer trains them.

    Args:
        size: F.
        components: K, how many directions are told apart, those in which normal images vary most;
            by default all. Of the others one number is left, how far along them a row lies: it is
            whitened as they are on average. So of images that lie in the K directions (as all do
            where they are no more than K), distances to any row are what they are by all.

    Attributes:
        out: numbers in a whitened row, K + 1, or F where all directions are told apart.
    """

    def __init__(self, size: int, components: int | None = None) -> None:
        super().__init__()
        kept = components or size
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        # Apart from the directions, so that both can be rounded to 8 bits.
        self.scale = nn.Parameter(torch.ones(size), requires_grad=False)
        self.directions = nn.Parameter(torch.eye(size, kept), requires_grad=False)
        self.out = kept
        if kept < size:
            self.out += 1
            self.lengths = nn.Parameter(torch.ones(kept), requires_grad=False)
            self.others = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return the whitened rows (B, K + 1), or (B, F)."""
        scaled_BF = (features_BF - self.mean) * self.scale
        told_BK = scaled_BF @ self.directions
        if self.out == told_BK.shape[1]:
            return told_BK
        # By Pythagoras. Where a row lies in the directions, what is left is rounding, whose root
        # is large and in every runtime another: as much is taken off, and leaves nothing of it.
        whole_B1 = scaled_BF.square().sum(1, keepdim=True)
        rest_B1 = whole_B1 - (told_BK * self.lengths).square().sum(1, keepdim=True)
        rest_B1 = (rest_B1 - _ROUNDING * whole_B1).clamp(min=0)
        return torch.cat([told_BK, rest_B1.sqrt() * self.others], 1)

    @torch.no_grad()
    def fit(
        self,
        features_NF: Tensor,
        *,
        shrinkage: float,
        strength: float = 1.0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        """Fit mean, scale and directions in double precision.

        Args:
            features_NF: of normal images.
            shrinkage: share of the covariance that is taken from a multiple of the identity, of
                the same mean variance (Ledoit and Wolf 2004). It keeps directions in which the
                training images hardly vary from deciding.
            strength: 1 whitens, 0 leaves the lengths of directions as they are, and what is
                between does a part of it.
            blocks: sizes of groups of features, of which each is first brought to the same mean
                deviation; by default all are one group.

        Raises:
            CannotTrain: all rows of a group are alike.
        """
        rows = features_NF.double()
        mean = rows.mean(0)
        centred = rows - mean
        deviations = centred.square().mean(0).sqrt()
        means = [group.mean() for group in deviations.split(list(blocks or (len(mean),)))]
        if not all(deviation > 0 for deviation in means):
            raise CannotTrain("the features of all training images are alike")
        sizes = torch.tensor(list(blocks or (len(mean),)), device=rows.device)
        scale = torch.stack(means).repeat_interleave(sizes)
        centred = centred / scale
        covariance = centred.T @ centred / len(rows)
        variance = covariance.diagonal().mean()
        covariance *= 1 - shrinkage
        covariance.diagonal().add_(shrinkage * variance)
        variances, directions = (of.flip(-1) for of in torch.linalg.eigh(covariance))
        kept = self.directions.shape[1]
        self.mean.copy_(mean)
        self.scale.copy_(1 / scale)
        lengths = variances[:kept] ** (strength / 2)
        self.directions.copy_(directions[:, :kept] / lengths)
        if kept < len(variances):
            self.lengths.copy_(lengths)
            self.others.copy_(variances[kept:].mean() ** (-strength / 2))
