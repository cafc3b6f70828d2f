"""What f-AnoGAN minimises and scores by, as pure functions. B images, anything after that."""

import torch
from torch import Tensor


def gradient_penalty(gradient: Tensor) -> Tensor:
    """Return the mean of (||g|| - 1)^2 over images, a scalar (WGAN-GP, Eq. 3).

    Args:
        gradient: of the critic with respect to each image (B, C, S, S).
    """
    norms_B: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norms_B - 1).square().mean()
