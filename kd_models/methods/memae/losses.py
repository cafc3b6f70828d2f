"""What is minimised, as pure functions. Shapes: B images, N items of memory."""

from torch import Tensor

_EPS = 1e-12
"""keeps the logarithm's slope finite at 0"""


def reconstruction(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return R = ||x - x_hat||_2^2 of each image (B,), Section 3.4 of the paper."""
    return (x - x_hat).flatten(1).square().sum(1)


def entropy(weights_BN: Tensor) -> Tensor:
    """Return E = -sum w log w of each image's weights (B,) in nats, Section 3.4 of the paper."""
    return -(weights_BN * (weights_BN + _EPS).log()).sum(1)
