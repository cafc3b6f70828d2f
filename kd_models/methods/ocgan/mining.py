"""Informative-negative mining: latents whose images a classifier takes for fakes.

Shapes: B latents, Z numbers in each, n lanes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import _get_current_function_mode

from kd_models.methods.adversarial import cross_entropies
from kd_models.values import Count, Value

Tensors = Mapping[str, Tensor]
"""parameters and buffers by name"""


class Mining(Value):
    """The gradient ascent to informative negatives."""

    steps: Count = 5
    rate: Annotated[float, Field(gt=0)] = 2.0
    """what the gradient of each latent's own loss is multiplied by"""


def mine(decoder: nn.Module, classifier: nn.Module, z_BZ: Tensor, mining: Mining) -> Tensor:
    """Return latents (B, Z) from which the decoder makes images that look like fakes.

    Gradient ascent on the classifier's cross-entropy against real (Section 3.2), inside the cube
    of latents. Neither network learns or has its running statistics changed.

    Args:
        decoder: from latents to images.
        classifier: from images to a logit (B, 1), and whatever else.
        z_BZ: where to start.
        mining: how.
    """
    both = _DecodedAndClassified(decoder, classifier)
    tensors = {
        name: tensor.detach() for name, tensor in (*both.named_parameters(), *both.named_buffers())
    }

    # The kernels of lanes, where there are lanes: torch takes them away while a rule under vmap
    # runs, and without them batch norm fails there on a GPU.
    kernels = _get_current_function_mode()

    def loss(tensors: Tensors, z_BZ: Tensor) -> Tensor:
        with kernels or nullcontext():
            logits = functional_call(both, dict(tensors), (z_BZ,))
        return cross_entropies(logits, real=True).sum()

    for _ in range(mining.steps):
        slope: Tensor = _Gradient.apply(loss, tuple(tensors), z_BZ, *tensors.values())
        z_BZ = (z_BZ + mining.rate * slope).clamp(-1, 1)
    return z_BZ


class _DecodedAndClassified(nn.Module):
    """Latents to the classifier's logits for their images."""

    def __init__(self, decoder: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.decoder, self.classifier = decoder, classifier

    def forward(self, z_BZ: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.decoder(z_BZ))[0]
        return logits


class _Gradient(torch.autograd.Function):
    """The gradient of ``loss(tensors, z)``, a scalar, with respect to z.

    ``torch.func.grad`` would be enough, but for lanes: the kernels that stand in for convolutions
    there have a rule under vmap and no backward. The rule of this class differentiates below vmap,
    where the lanes' gradients are ordinary ones of the sum of their losses.
    """

    @staticmethod
    def forward(
        loss: Callable[[Tensors, Tensor], Tensor], names: Sequence[str], z: Tensor, *own: Tensor
    ) -> Tensor:
        return _differentiated(lambda z, *own: loss(_copied(names, own), z), z, own)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, loss: Any, names: Any, z: Tensor, *own: Tensor) -> Any:
        z = z.movedim(in_dims[2], 0)
        of_lanes = vmap(lambda z, *own: loss(_copied(names, own), z), (0, *in_dims[3:]))
        return _differentiated(lambda z, *own: of_lanes(z, *own).sum(), z, own), 0


def _copied(names: Sequence[str], tensors: Sequence[Tensor]) -> Tensors:
    # Batch norm writes to its running statistics.
    return {name: tensor.clone() for name, tensor in zip(names, tensors, strict=True)}


def _differentiated(loss: Callable[..., Tensor], z: Tensor, own: Sequence[Tensor]) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(loss(z, *own), z)[0]
