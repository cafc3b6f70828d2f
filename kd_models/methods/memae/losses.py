"""What is minimised, as pure functions. Shapes: B images, N items of memory."""

from torch import Tensor

_EPS = 1e-12
"""keeps the logarithm's slope finite at 0"""


def entropy(weights_BN: Tensor) -> Tensor:
    """Return E = -sum w log w of each image's weights (B,) in nats, Section 3.4 of the paper."""
    return -(weights_BN * (weights_BN + _EPS).log()).sum(1)
