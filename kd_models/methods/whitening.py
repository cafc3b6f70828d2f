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


class Whitening(nn.Module):
    """A linear map after which normal images vary alike in every direction.

    Mean and matrix are parameters, since they have to be deployed and count as such, but no
    optimizer trains them.

    Args:
        size: F.
        components: K, of the directions in which normal images vary most; by default all.
    """

    def __init__(self, size: int, components: int | None = None) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.matrix = nn.Parameter(torch.eye(size, components or size), requires_grad=False)

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return the whitened rows (B, K)."""
        return (features_BF - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(
        self,
        features_NF: Tensor,
        *,
        shrinkage: float,
        strength: float = 1.0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        """Fit mean and matrix in double precision.

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
        variances, directions = torch.linalg.eigh(covariance)  # the largest come last
        whole = directions * variances ** (-strength / 2) / scale[:, None]
        self.mean.copy_(mean)
        self.matrix.copy_(whole[:, -self.matrix.shape[1] :])
