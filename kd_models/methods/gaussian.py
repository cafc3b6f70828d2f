"""A Gaussian of feature vectors, by whose Mahalanobis distance images are scored."""

import torch
from torch import Tensor

from kd_models.methods.whitening import Whitening


class Gaussian(Whitening):
    """The mean and covariance of feature vectors. Shapes: B images, F features."""

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return the Mahalanobis distance of each row, (B,)."""
        distances: Tensor = torch.linalg.vector_norm(super().forward(features_BF), dim=1)
        return distances
