"""What a learner minimises: one objective for each optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Batch = dict[str, Tensor]
"""``x`` (B, C, S, S), and by name what was drawn and what objectives and fixed teachers hand on."""

LOSS = "loss"


class Objective(nn.Module):
    """What one optimizer minimises. It runs forward once per backward, so that DDP can wrap it.

    Its ``forward(batch)`` returns ``(terms, made)``: every loss term under its own name with their
    weighted sum under ``loss``, and tensors that the next objective of the same step reads from
    the batch.
    """

    every: int = 1
    """It is minimised in the first step of an epoch and in every so many-th after it."""

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the networks that run here and are trained by another objective."""
        return ()


def run_fixed(network: nn.Module, *inputs: Tensor) -> Any:
    """Return a network's outputs; gradients pass through it but stop short of its parameters.

    So that it can belong to another optimizer and another DDP wrapper.
    """
    return functional_call(network, _parameters(network, fixed=True), inputs)


def run_aside(network: nn.Module, inputs: Tensor, *, fixed: bool) -> Tensor:
    """Return a network's output for inputs that it is not to be deployed for.

    Its running statistics stay those of its other inputs.

    Args:
        network: the network; of several outputs, the first is returned.
        inputs: (B, ...).
        fixed: whether gradients pass through it but stop short of its parameters.
    """
    tensors = _parameters(network, fixed=fixed)
    tensors |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    outputs = functional_call(network, tensors, (inputs,))
    first: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return first


def _parameters(network: nn.Module, *, fixed: bool) -> dict[str, Tensor]:
    return {
        name: parameter.detach() if fixed else parameter
        for name, parameter in network.named_parameters()
    }


class WeightedObjective(Objective):
    """An objective that weighs its terms. Weights are tensors, so that lanes may differ in them.

    Args:
        weights: of its terms, by name.
    """

    _weights: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self._names = tuple(weights)
        self.register_buffer("_weights", torch.tensor(list(weights.values())), persistent=False)

    def weighted_sum(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the terms by their weights, a scalar."""
        return (self._weights * torch.stack([terms[name] for name in self._names])).sum()
