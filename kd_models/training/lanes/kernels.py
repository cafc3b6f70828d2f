"""Kernels for lanes: what stands in for torch's functions under ``vmap``.

Between layers an image lies in memory as (B, H, W, n, C), which to a layer is one image of n * C
channels in channels_last: convolutions become grouped ones, batch norm and pooling run unchanged.
``vmap`` alone gives half to three quarters of the speed (docs/benchmarks.md).

Shapes: n lanes, B images in a batch, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode


class LaneKernels(TorchFunctionMode):
    """Replaces the functions that the networks call most by kernels made for lanes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _KERNELS.get(func, func)(*args, **(kwargs or {}))


def _fold(x: Tensor, dim: int | None, n: int) -> Tensor:
    """(B, C, H, W) with its lanes at ``dim`` to (B, n * C, H, W)."""
    x = x.unsqueeze(1).expand(-1, n, -1, -1, -1) if dim is None else x.movedim(dim, 1)
    return x.flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _unfold(x: Tensor, n: int) -> tuple[Tensor, int]:
    return x.unflatten(1, (n, -1)), 1


def _flat(tensor: Tensor | None, dim: int | None, n: int) -> Tensor | None:
    """(C,) of every lane to (n * C,)."""
    return None if tensor is None else _by_lane(tensor, dim, n).flatten()


def _by_lane(tensor: Tensor, dim: int | None, n: int) -> Tensor:
    """Bring the lanes to the front."""
    return tensor.expand(n, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


class _PerLane(torch.autograd.Function):
    """Calls ``kernel(n, dims, *tensors)`` with the lanes' tensors stacked at ``dims``.

    The kernels are differentiable as they are; this class exists for its rule under vmap.
    """

    @staticmethod
    def forward(kernel: Any, *tensors: Any) -> Any:
        # No argument differs by lane: a fixed network on images that all lanes share.
        result, lanes = kernel(1, [None] * len(tensors), *tensors)
        return result.squeeze(lanes)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Any, *tensors: Any) -> Any:
        return kernel(info.batch_size, in_dims[1:], *tensors)


def _convolve(
    how: Mapping[str, Any], n: int, dims: Any, x: Tensor, w: Tensor, bias: Tensor | None
) -> Any:
    if dims[1] is None:  # a network that the lanes share
        y = F.conv2d(_by_lane(x, dims[0], n).flatten(0, 1), w, bias, **how)
        return y.unflatten(0, (n, -1)), 0
    w = _by_lane(w, dims[1], n)
    groups = how.get("groups", 1)
    if dims[0] is None and groups == 1:  # images that the lanes share
        return _unfold(F.conv2d(x, w.flatten(0, 1), _flat(bias, dims[2], n), **how), n)
    x = _by_lane(x, dims[0], n)
    if x.shape[-2:] == w.shape[-2:] and _is_plain(how, bias):
        # The kernel covers the whole image: a matrix product for every lane.
        left = x.permute(0, 1, 3, 4, 2).flatten(2)
        right = w.permute(0, 1, 3, 4, 2).flatten(2)
        return torch.bmm(left, right.transpose(1, 2))[..., None, None], 0
    grouped = {**how, "groups": n * groups}
    y = F.conv2d(_fold(x, 0, n), w.flatten(0, 1), _flat(bias, dims[2], n), **grouped)
    return _unfold(y, n)


def _convolve_transposed(
    how: Mapping[str, Any], n: int, dims: Any, x: Tensor, w: Tensor, bias: Tensor | None
) -> Any:
    x, w = _by_lane(x, dims[0], n), _by_lane(w, dims[1], n)
    if x.shape[-2:] == (1, 1) and _is_plain(how, bias):
        # From a single pixel: a matrix product for every lane.
        y = torch.bmm(x.flatten(2), w.permute(0, 1, 3, 4, 2).flatten(2))
        return y.unflatten(2, (*w.shape[-2:], w.shape[2])).permute(1, 0, 4, 2, 3), 1
    grouped = {**how, "groups": n * how.get("groups", 1)}
    y = F.conv_transpose2d(_fold(x, 0, n), w.flatten(0, 1), _flat(bias, dims[2], n), **grouped)
    return _unfold(y, n)


def _is_plain(how: Mapping[str, Any], bias: Tensor | None) -> bool:
    """Whether a convolution is no more than its kernel moved over the image."""
    usual = {"padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
    return bias is None and all(
        how.get(name, value) in (value, (value, value)) for name, value in usual.items()
    )


def _normalise(
    function: Any, how: Mapping[str, Any], n: int, dims: Any, x: Tensor, *own: Tensor | None
) -> Any:
    flat = [_flat(tensor, dim, n) for tensor, dim in zip(own, dims[1:], strict=True)]
    return _unfold(function(_fold(x, dims[0], n), *flat, **how), n)


def _pool(function: Any, how: tuple[Any, ...], n: int, dims: Any, x: Tensor) -> Any:
    return _unfold(function(_fold(x, dims[0], n), *how), n)


# What stands in for torch's functions: their arguments, as torch's modules give them.


def _conv2d(x: Tensor, w: Tensor, bias: Tensor | None = None, *how: Any) -> Any:
    named = dict(zip(("stride", "padding", "dilation", "groups"), how, strict=False))
    return _PerLane.apply(partial(_convolve, named), x, w, bias)


def _conv_transpose2d(x: Tensor, w: Tensor, bias: Tensor | None = None, *how: Any) -> Any:
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    named = dict(zip(names, how, strict=False))
    return _PerLane.apply(partial(_convolve_transposed, named), x, w, bias)


def _norm(
    function: Any,
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    **how: Any,
) -> Any:
    kernel = partial(_normalise, function, how)
    return _PerLane.apply(kernel, x, running_mean, running_var, weight, bias)


def _max_pool2d(x: Tensor, *how: Any, **named: Any) -> Any:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    chosen = dict(zip(names, how, strict=False)) | named
    usual = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    sizes = tuple(chosen.get(name, usual.get(name)) for name in names)
    return _PerLane.apply(partial(_pool, F.max_pool2d, sizes), x)


def _adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Any:
    return _PerLane.apply(partial(_pool, F.adaptive_avg_pool2d, (output_size,)), x)


def _relu(x: Tensor, inplace: bool = False) -> Tensor:
    # In place, on what is a view of all lanes, would copy all of it back.
    return torch.relu(x)


def _leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return F.leaky_relu(x, negative_slope)


def _l1_loss(x: Tensor, y: Tensor, **named: Any) -> Tensor:
    # The gradient of a mean would be written out for every pixel, in another layout.
    difference = (x - y).abs()
    return difference.sum() / difference.numel()


_KERNELS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    F.conv2d: _conv2d,
    F.conv_transpose2d: _conv_transpose2d,
    F.batch_norm: partial(_norm, F.batch_norm),
    F.instance_norm: partial(_norm, F.instance_norm),
    torch.max_pool2d: _max_pool2d,
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    F.relu: _relu,
    F.leaky_relu: _leaky_relu,
    F.l1_loss: _l1_loss,
}
