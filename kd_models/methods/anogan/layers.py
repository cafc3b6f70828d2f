"""A network in evaluation mode, and the gradient with respect to its input, written out.

Scorers run in lanes and are exported, and neither knows of gradients; what is here are convolutions
like any others. Batch norm goes into the weights once: a search runs a network many times, and each
operation takes time to export.

Where a derivative jumps it is a ramp here. Otherwise rounding, which differs from one runtime to
another, would decide where a search goes: of digits' scores after 32 steps one in a hundred
differed by more than 1e-5 of the largest, a few by 1e-3; with ramps none by 1e-6.

Shapes: B images in a batch, C channels, H x W pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

RAMP = 0.3
"""over which a derivative goes from one value to another, in units of what it is taken of"""


def sign_of(difference: Tensor) -> Tensor:
    """Return the derivative of the absolute value, from -1 to 1 in a ramp to either side of 0."""
    return (difference / RAMP).clamp(-1, 1)


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution, the batch norm after it, if there is one, and its activation.

    Attributes:
        weight: of the convolution, times the scale of the batch norm.
        gradient_weight: the weight by which the gradient is convolved, divided by what ``before``
            takes the activation's derivative times: RAMP, or -1 for a tanh. An operation less in
            every step; and in 8 bits a weight has its scales along the dimension of the channels
            that come out, which is another one for a transposed convolution.
        bias: (C,); None for none.
        is_transposed: whether the convolution is a transposed one.
        stride: of the convolution.
        padding: of the convolution.
        slope: of the activation below 0, if it is a leaky ReLU or a ReLU; None: it is a tanh.
    """

    weight: Tensor
    gradient_weight: Tensor
    bias: Tensor | None
    is_transposed: bool
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    slope: float | None

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return the output (B, C, H, W)."""
        convolve = F.conv_transpose2d if self.is_transposed else F.conv2d
        y = convolve(x_BCHW, self.weight, self.bias, self.stride, self.padding)
        return y.tanh() if self.slope is None else F.leaky_relu(y, self.slope)

    def before(self, output: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the input, given the one with respect to the output.

        Args:
            output: what was returned, (B, C, H, W).
            gradient: of the same shape.
        """
        convolve = F.conv2d if self.is_transposed else F.conv_transpose2d
        if self.slope is None:
            derivative = output.square() - 1
        else:
            derivative = output.clamp(self.slope * RAMP, RAMP)
        return convolve(
            gradient * derivative, self.gradient_weight, None, self.stride, self.padding
        )


def layers_of(network: nn.Sequential) -> list[Layer]:
    """Return what a network does in evaluation mode.

    Args:
        network: convolutions without biases, each with a batch norm or none and an activation after
            it.

    Raises:
        TypeError: it has a layer of another kind.
    """
    modules = iter(network)
    return [_layer(convolution, modules) for convolution in modules]


def outputs_of(layers: Sequence[Layer], x_BCHW: Tensor) -> list[Tensor]:
    """Return the output of every layer."""
    outputs: list[Tensor] = []
    for layer in layers:
        x_BCHW = layer(x_BCHW)
        outputs.append(x_BCHW)
    return outputs


def gradient_before(layers: Sequence[Layer], outputs: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """Return the gradient with respect to the input of the first layer.

    Args:
        layers: the layers.
        outputs: of every layer.
        gradient: with respect to the last one's output.
    """
    for layer, output in zip(reversed(layers), reversed(outputs), strict=True):
        gradient = layer.before(output, gradient)
    return gradient


def _layer(convolution: nn.Module, after: Iterator[nn.Module]) -> Layer:
    """Return a convolution with what comes after it, which is taken."""
    match convolution:
        case nn.Conv2d(bias=None, padding=tuple(padding)):
            is_transposed = False
        case nn.ConvTranspose2d(bias=None, padding=tuple(padding)):
            is_transposed = True
        case _:
            raise _unknown(convolution)
    weight, bias = convolution.weight, None
    activation = next(after)
    if isinstance(activation, nn.BatchNorm2d):
        norm, activation = activation, next(after)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        # The channels that come out stand second in a transposed convolution's weights.
        weight = weight * (scale[:, None, None] if is_transposed else scale[:, None, None, None])
    slope = _slope(activation)
    return Layer(
        weight=weight,
        gradient_weight=weight / (-1 if slope is None else RAMP),
        bias=bias,
        is_transposed=is_transposed,
        stride=convolution.stride,
        padding=padding,
        slope=slope,
    )


def _slope(activation: nn.Module) -> float | None:
    match activation:
        case nn.ReLU():
            return 0.0
        case nn.LeakyReLU():
            return activation.negative_slope
        case nn.Tanh():
            return None
    raise _unknown(activation)


def _unknown(module: nn.Module) -> TypeError:
    return TypeError(f"no gradient is written out for {type(module).__name__}")
