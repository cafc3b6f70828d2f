"""How far an image is from a generated one, as pure functions. Shapes: B images, then anything."""

from torch import Tensor


def absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the absolute differences of each pair (B,).

    Of images the residual loss L_R (Eq. 2), of features the discrimination loss L_D (Eq. 4).
    """
    return (a - b).flatten(1).abs().sum(1)


def mapping_loss(residual: Tensor, discrimination: Tensor, feature_weight: float) -> Tensor:
    """Return L = (1 - lambda) L_R + lambda L_D (Eq. 5), of any shape.

    Args:
        residual: L_R.
        discrimination: L_D.
        feature_weight: lambda.
    """
    return (1 - feature_weight) * residual + feature_weight * discrimination
