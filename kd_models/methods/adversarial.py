"""What methods have in common whose networks are judged by a discriminator. Shapes: B images."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def cross_entropies(logit: Tensor, real: bool) -> Tensor:
    """Return the cross-entropy (B,) of each logit (B, 1) against real, or else fake.

    It is -log of the probability of that (Goodfellow et al., NeurIPS 2014).
    """
    target = torch.ones_like(logit) if real else torch.zeros_like(logit)
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")[:, 0]
