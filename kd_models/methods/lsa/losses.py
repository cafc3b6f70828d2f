"""Both parts of loss and score, as pure functions. Shapes: B images, Z latent numbers, K bins."""

import math

import torch
from torch import Tensor


def surprisal(z_BZ: Tensor, logits_BZK: Tensor) -> Tensor:
    """Return -log p(z) of each image's latent (B,), the second term of the paper's loss.

    p is a density, constant within a bin: K times the probability of the bin. The paper takes the
    probability itself, which adds Z log K. There is no gradient by the bin, but one by the logits,
    and so by whatever these depend on.

    Args:
        z_BZ: latent numbers from 0 to 1.
        logits_BZK: of their bins, each given the numbers before it.
    """
    bins = logits_BZK.shape[2]
    # Clamped on both sides: a number that is not finite has to become a loss that is not, rather
    # than an index out of range.
    index_BZ1 = (z_BZ.detach() * bins).long().clamp(0, bins - 1)[..., None]
    return _density(logits_BZK).gather(2, index_BZ1).sum((1, 2)).neg()


def smooth_surprisal(z_BZ: Tensor, logits_BZK: Tensor) -> Tensor:
    """Return :func:`surprisal` with log p interpolated between the centres of two bins (B,).

    The paper scores by the bin alone. Numbers are rounded differently by other programs and on
    other machines; where one fell just beyond the border of a bin, the same detector would have
    another score there.

    Args:
        z_BZ: latent numbers from 0 to 1.
        logits_BZK: of their bins, each given the numbers before it.
    """
    bins = logits_BZK.shape[2]
    place_BZ1 = (z_BZ * bins - 0.5).clamp(0, bins - 1)[..., None]
    away_BZK = (place_BZ1 - torch.arange(bins, device=z_BZ.device)).abs()
    return ((1 - away_BZK).clamp(min=0) * _density(logits_BZK)).sum((1, 2)).neg()


def _density(logits_BZK: Tensor) -> Tensor:
    """Return the logarithm of the density in every bin."""
    # The constant is added here: in the sum it would leave no digits for what images differ in.
    return logits_BZK.log_softmax(2) + math.log(logits_BZK.shape[2])
