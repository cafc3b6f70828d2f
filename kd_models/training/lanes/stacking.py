"""n same-shaped modules run as one: their tensors stacked, lanes first, and mapped by ``vmap``.

Shapes: n lanes, k of them active, B images in a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from kd_models.methods.objectives import Batch, Objective
from kd_models.training.lanes.kernels import LaneKernels

Stacks = dict[int, Tensor]
"""Stacked tensors by the id of the first lane's tensor: modules that share networks share these."""


class StackedModules:
    """Same-shaped modules that run as one. Tensors that all lanes share are not stacked.

    Args:
        modules: one for each lane.
        stacks: what is stacked already; added to.

    Attributes:
        tensors: the stacked parameters and buffers by name.
    """

    def __init__(self, modules: Sequence[nn.Module], stacks: Stacks) -> None:
        self._template = modules[0]
        named = [
            dict(module.named_parameters()) | dict(module.named_buffers(remove_duplicate=False))
            for module in modules
        ]
        self.tensors = {name: _stack([each[name] for each in named], stacks) for name in named[0]}
        self._dims = {
            name: None if tensor is named[0][name] else 0 for name, tensor in self.tensors.items()
        }

    def call(self, arguments: tuple[Any, ...], dims: int | None) -> Any:
        """Run with arguments whose tensors are of the lanes (``dims`` 0) or shared (None)."""
        tensors = self.tensors
        if dims == 0:
            active = len(next(iter(_tensors_of(arguments))))
            tensors = {
                name: tensor if self._dims[name] is None else tensor[:active]
                for name, tensor in tensors.items()
            }

        def one(own: Mapping[str, Tensor], *arguments: Any) -> Any:
            return functional_call(self._template, dict(own), arguments)

        with LaneKernels():
            # A random number would depend on the other lanes: none may be drawn here.
            return vmap(one, (self._dims, *(dims for _ in arguments)), randomness="error")(
                tensors, *arguments
            )


class StackedObjective(nn.Module):
    """One objective of n learners: a batch (k, B, ...) in, terms (k,) and tensors (k, ...) out."""

    def __init__(self, objectives: Sequence[Objective], stacks: Stacks) -> None:
        super().__init__()
        stacked = StackedModules([_WithReads(objective) for objective in objectives], stacks)
        # In a tuple, so that torch does not register the lanes' own modules here.
        self._stacked = (stacked,)
        for name, tensor in stacked.tensors.items():
            # Without the networks that are only read: another objective trains them.
            if isinstance(tensor, nn.Parameter) and name.startswith(_WithReads.OWN):
                self.register_parameter(name.replace(".", "/"), tensor)

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Return what the objective trains, (n, ...) each."""
        return [p for p in self.parameters() if p.requires_grad]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the terms and the tensors for the next objective."""
        result: tuple[dict[str, Tensor], Batch] = self._stacked[0].call((batch,), 0)
        return result


class SingleObjective(nn.Module):
    """One objective of a single learner, with the lanes' dimension added: it runs without vmap."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Return what the objective trains."""
        return [p for p in self.objective.parameters() if p.requires_grad]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the terms (1,) and the tensors (1, ...) for the next objective."""
        terms, made = self.objective({name: tensor[0] for name, tensor in batch.items()})
        return (
            {name: term[None] for name, term in terms.items()},
            {name: tensor[None] for name, tensor in made.items()},
        )


def gather(data: Sequence[Batch], rows: Sequence[Tensor]) -> Batch:
    """Return each lane's rows (B,) of its data (N_i, ...) as a batch (k, B, ...).

    Images lie in memory with the lanes innermost, as the kernels want them.
    """
    return {
        name: _interleaved([own[name][r] for own, r in zip(data, rows, strict=True)])
        for name in data[0]
    }


class _WithReads(nn.Module):
    """An objective with the networks that it reads without owning them."""

    OWN = "objective."

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.reads = nn.ModuleList(objective.reads)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        result: tuple[dict[str, Tensor], Batch] = self.objective(batch)
        return result


def _tensors_of(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors_of(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors_of(part)


@torch.no_grad()
def _stack(lanes: Sequence[Tensor], stacks: Stacks) -> Tensor:
    """Stack tensors, lanes first, and make each a view of its lane."""
    first = lanes[0]
    if all(tensor is first for tensor in lanes):
        return first
    if id(first) not in stacks:
        if first.ndim == 4:  # a convolution's weights, which stay in channels_last
            whole = torch.stack([t.permute(0, 2, 3, 1) for t in lanes]).permute(0, 1, 4, 2, 3)
        else:
            whole = torch.stack(list(lanes))
        for lane, tensor in enumerate(lanes):
            tensor.data = whole[lane]
        if isinstance(first, nn.Parameter):
            whole = nn.Parameter(whole, requires_grad=first.requires_grad)
        stacks[id(first)] = whole
    return stacks[id(first)]


def _interleaved(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0][None]
    if parts[0].ndim != 4:
        return torch.stack(list(parts))
    return torch.stack([p.permute(0, 2, 3, 1) for p in parts], dim=3).permute(3, 0, 4, 1, 2)
