"""A critic's gradient with respect to images, written out layer by layer.

The penalty on it is minimised, so it has to be part of an objective that can run in lanes. Their
kernels are no functions that torch could differentiate inside ``vmap``; the steps below are
convolutions like any others.

Shapes: B images in a batch, C channels, H x W and S x S pixels.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from kd_models.methods.networks import Discriminator


def input_gradient(critic: Discriminator, x_BCSS: Tensor) -> Tensor:
    """Return the gradient (B, C, S, S) of each image's value with respect to the image.

    It can be differentiated with respect to the critic's weights and the images.

    Args:
        critic: convolutions, each with a per-image normalisation and a leaky ReLU after it.
        x_BCSS: the images.

    Raises:
        TypeError: the critic has a layer of another kind.
    """
    passed: list[tuple[nn.Module, Tensor]] = []
    y = x_BCSS
    for layer in critic.features:
        # A leaky ReLU in place changes what it was given, though not its signs.
        passed.append((layer, y))
        y = layer(y)
    gradient = critic.head.weight.expand(len(y), *y.shape[1:])
    for layer, given in reversed(passed):
        gradient = _before(layer, given, gradient)
    return gradient


def _before(layer: nn.Module, given: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with respect to what a layer was given."""
    match layer:
        case nn.Conv2d(padding=tuple(padding)):
            return F.conv_transpose2d(gradient, layer.weight, None, layer.stride, padding)
        case nn.InstanceNorm2d():
            return _before_norm(layer, given, gradient)
        case nn.LeakyReLU():
            return torch.where(given > 0, gradient, layer.negative_slope * gradient)
    raise TypeError(f"no gradient is written out for {type(layer).__name__}")


def _before_norm(norm: nn.InstanceNorm2d, given: Tensor, gradient: Tensor) -> Tensor:
    """Return it for y = w (x - mean) / deviation + b, mean and deviation being those of x."""
    over = (2, 3)
    away = given - given.mean(over, keepdim=True)
    scale = (away.square().mean(over, keepdim=True) + norm.eps).rsqrt()
    normal = away * scale
    along = normal * (gradient * normal).mean(over, keepdim=True)
    centred = gradient - gradient.mean(over, keepdim=True) - along
    return centred * scale * norm.weight[:, None, None]
