"""OCGAN's losses as pure functions. Shapes: B images."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def cross_entropies(logit: Tensor, real: bool) -> Tensor:
    """Return the cross-entropy (B,) of each logit (B, 1) against real, or else fake.

    -log of the probability of that, the terms of l_latent, l_visual and l_classifier.
    """
    return F.softplus(-logit if real else logit)[:, 0]
