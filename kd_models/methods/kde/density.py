"""The density of normal images, and the width of its kernel.

Shapes: B images, N training images, K numbers of each.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kd_models.methods.base import CannotTrain
from kd_models.methods.kernels import squared_distances

Rule = Literal["cv", "scott"]

BANDWIDTHS = tuple(2.0 ** (power / 2) for power in range(-9, 11))
"""2^-4.5, 2^-4, ..., 2^5: those that are tried"""
FOLDS = 5


def log_kernels(squared: Tensor, bandwidth: Tensor | float) -> Tensor:
    """Return the logarithm of the sum over the last axis of exp(-d^2 / (2 h^2)).

    Args:
        squared: d^2, (B, N).
        bandwidth: h.
    """
    exponents = squared / (-2 * bandwidth**2)
    # The nearest image's is taken out: of an image far from all of them every kernel rounds to 0.
    nearest = exponents.amax(1, keepdim=True)
    return (exponents - nearest).exp().sum(1).log() + nearest.squeeze(1)


def log_constant(count: int, size: int, bandwidth: float) -> float:
    """Return log(N (2 pi h^2)^(K / 2)), by which the sum of N Gaussian kernels is divided."""
    return math.log(count) + size * math.log(bandwidth * math.sqrt(2 * math.pi))


def bandwidth_of(rows_NK: Tensor, rule: Rule) -> float:
    """Return the bandwidth that a rule finds for normal images.

    Args:
        rows_NK: the images.
        rule: ``scott``, or ``cv`` for :func:`cross_validated`.

    Raises:
        CannotTrain: the images are too few for it, or all alike.
    """
    return scott(rows_NK) if rule == "scott" else cross_validated(rows_NK, BANDWIDTHS)


def scott(rows_NK: Tensor) -> float:
    """Return Scott's bandwidth, sigma N^(-1 / (K + 4)) (Scott 1992).

    The sigma of all numbers is one, the root of their mean variance.

    Raises:
        CannotTrain: it is 0, or of one image, which has none.
    """
    count, size = rows_NK.shape
    deviation = float(rows_NK.var(0).mean().sqrt()) if count > 1 else 0.0
    if not deviation > 0:
        raise CannotTrain(
            f"the {count} images that are kept are all alike: they have no bandwidth by Scott's "
            "rule; keep more (memory) or give one (bandwidth)"
        )
    return deviation * math.pow(count, -1 / (size + 4))


def cross_validated(rows_NK: Tensor, bandwidths: Sequence[float]) -> float:
    """Return the bandwidth of those given by which images left out have the largest likelihood.

    Every fifth image is left out in turn, so that images in an order are in all five parts.

    Args:
        rows_NK: the images.
        bandwidths: those that are tried.

    Raises:
        CannotTrain: there are fewer images than parts.
    """
    count, size = rows_NK.shape
    if count < FOLDS:
        raise CannotTrain(f"{count} images cannot be divided into {FOLDS} parts")
    part_N = torch.arange(count, device=rows_NK.device) % FOLDS
    likelihoods = [0.0] * len(bandwidths)
    for fold in range(FOLDS):
        known = rows_NK[part_N != fold]
        squared = squared_distances(rows_NK[part_N == fold], known)
        for place, bandwidth in enumerate(bandwidths):
            found = log_kernels(squared, bandwidth) - log_constant(len(known), size, bandwidth)
            likelihoods[place] += float(found.sum())
    return bandwidths[max(range(len(bandwidths)), key=likelihoods.__getitem__)]
