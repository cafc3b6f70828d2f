"""The terms of Deep SVDD's objectives, as pure functions. Shapes: B images, Z numbers of a code."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def best_radius(distances_B: Tensor, nu: float) -> Tensor:
    """Return the R^2 that minimises Eq. 3 for these squared distances, a scalar.

    In R^2 the objective is convex and piecewise linear: it falls as long as more than nu * B
    distances are larger. So the minimiser is their (1 - nu)-quantile, here the smallest distance
    that no more than nu * B exceed. Its rank depends on B and nu alone, not on the distances.

    Args:
        distances_B: of the codes from the centre, squared.
        nu: the share of images that may lie outside, between 0 and 1.
    """
    outside = math.floor(nu * len(distances_B))
    return distances_B.sort().values[len(distances_B) - 1 - outside]


def outside_boundary(distances_B: Tensor, radius: Tensor, nu: float) -> Tensor:
    """Return 1 / nu times the mean of max(0, d - R^2), the second term of Eq. 3, a scalar.

    Args:
        distances_B: of the codes from the centre, squared.
        radius: R^2.
        nu: the share of images that may lie outside.
    """
    return (distances_B - radius).clamp(min=0).mean() / nu


def weight_decay(weights: Iterable[Tensor]) -> Tensor:
    """Return 1/2 of the sum of ||W||_F^2, the last term of Eq. 3 and 4 without its lambda."""
    return torch.stack([weight.square().sum() for weight in weights]).sum() / 2
