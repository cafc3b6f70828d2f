"""How far images are from others, such as their reconstructions. Shapes: B images."""

from torch import Tensor


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return || a - b ||_2^2 of each pair (B,), the sum over whatever follows the batch."""
    return (a - b).flatten(1).square().sum(1)


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of the squared differences of each pair (B,)."""
    return (a - b).flatten(1).square().mean(1)
