"""Lanes: n trainings of one shape, run as one.

A student of 0.08 MFLOPs cannot keep a core busy: trained alone, it is all overhead. Here the
tensors of n same-shaped networks are stacked, lanes first, and the code of one runs for all of them
at once (``torch.func.vmap``). Networks, objectives and scorers stay plain code for a single
network, and every learner's own networks stay in use, as views of their lane: whatever reads them
(a state dict, a scorer) need not know of lanes. A pack of one is stacked by nobody: it is run as it
is.

A lane's numbers are its own: nothing here adds over lanes but the losses, whose sum gives every
lane its own gradient. So a lane does not depend on which others it is stacked with, but for
rounding (other kernels may be chosen for other sizes), and one that is no longer finite spoils no
other.

Shapes: n lanes, k of them active (a lane is not in the last steps of an epoch where its data is
spent), B images in a batch, C channels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.adam import adam
from torch.overrides import TorchFunctionMode

from kd_models.objectives import LOSS, Batch
from kd_models.scoring import batch_of
from kd_models.step import Learner
from kd_models.world import World

_ADAM_EPS = 1e-8


class Lanes:
    """Learners of one shape whose networks train, and score, as one.

    Args:
        learners: one for each lane, of equal networks and objectives, but for the objectives'
            weights. Where a lane is not always active, those that are come first.
        betas: of Adam.
    """

    def __init__(
        self, learners: Sequence[Learner], betas: tuple[float, float], world: World
    ) -> None:
        self.learners = tuple(learners)
        self._world = world
        stacks: dict[int, Tensor] = {}
        sides = zip(*(learner.objectives() for learner in learners), strict=True)
        objectives = [_Side([o.to(world.device) for o in side], stacks) for side in sides]
        self._scorer: _Side | None = None
        self._stacks = stacks
        self.optimizers = [LaneAdam(o.trained, len(learners), betas) for o in objectives]
        self._objectives = [world.wrap(objective) for objective in objectives]

    def __len__(self) -> int:
        return len(self.learners)

    def train_step(self, batch: Batch, lrs: Sequence[float]) -> dict[str, Tensor]:
        """Minimise each objective once, each lane on its own images.

        Args:
            batch: as :func:`gather` makes it, of the first k lanes.
            lrs: the learning rates of these k.

        Returns:
            Every term, detached, each (k,); ``loss/0`` and so on are the objectives' sums.
        """
        terms: dict[str, Tensor] = {}
        for side, (objective, optimizer) in enumerate(
            zip(self._objectives, self.optimizers, strict=True)
        ):
            own, made = objective(batch)
            optimizer.zero_grad()
            own[LOSS].sum().backward()
            optimizer.step(lrs)
            batch = batch | made
            own[f"{LOSS}/{side}"] = own.pop(LOSS)
            terms |= {name: term.detach() for name, term in own.items()}
        return terms

    def score(self, images: Sequence[Tensor], targets: Sequence[Batch]) -> list[Tensor]:
        """Return the novelty scores (N_i,) of each lane's images (N_i, C, S, S).

        Args:
            targets: of each lane, as from ``Learner.scoring_targets``; where one lane has none,
                none is used.
        """
        if len(self) == 1:
            return [self.learners[0].score(images[0], self._world, targets[0])]
        if not all(targets):
            targets = [{}] * len(self)
        if self._scorer is None:
            self._scorer = _Side([learner.scorer() for learner in self.learners], self._stacks)
        try:
            for learner in self.learners:
                learner.scorer()  # leaves its networks in evaluation mode
            return self._score(self._scorer, images, targets)
        finally:
            self.train()

    @torch.no_grad()
    def _score(
        self, scorer: "_Side", images: Sequence[Tensor], targets: Sequence[Batch]
    ) -> list[Tensor]:
        data = [{"x": x, **given} for x, given in zip(images, targets, strict=True)]
        alike = all(x is images[0] for x in images)
        sizes = [len(x) for x in images]
        size = min(batch_of(images[0]), max(1, 4 * batch_of(images[0]) // len(self)))

        def of(rows: Tensor) -> Tensor:
            """(r,) row numbers to (r, n)."""
            scores = rows.new_empty((len(rows), len(self)), dtype=images[0].dtype)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                if alike:
                    batch, dims = {name: t[some] for name, t in data[0].items()}, None
                else:
                    batch = gather(data, [some.clamp(max=last - 1) for last in sizes])
                    dims = 0
                x = batch.pop("x")
                scores[start : start + size] = scorer.call((x, batch), dims).T
            return scores

        # Rows past the end of a lane's images are its last one again, and dropped here.
        every = torch.arange(max(sizes), device=images[0].device)
        scores = self._world.map_rows(of, every)
        return [scores[:size, lane] for lane, size in enumerate(sizes)]

    def train(self) -> None:
        """Put all networks into training mode."""
        for learner in self.learners:
            for network in learner.trained.values():
                network.train()

    def average_buffers(self) -> None:
        """Give every process the same running statistics; see ``World.average_buffers``."""
        self._world.average_buffers(
            *(network for learner in self.learners for network in learner.trained.values())
        )

    def without(self, lost: set[int]) -> "Lanes":
        """Return the other lanes, exactly where they are in their training."""
        kept = [lane for lane in range(len(self)) if lane not in lost]
        states = [[o.lane(lane).state_dict() for o in self.optimizers] for lane in kept]
        betas = self.optimizers[0].betas
        rest = Lanes([self.learners[lane] for lane in kept], betas, self._world)
        for lane, sides in enumerate(states):
            for optimizer, state in zip(rest.optimizers, sides, strict=True):
                optimizer.lane(lane).load_state_dict(state)
        return rest


class _Side(nn.Module):
    """n same-shaped modules run as one: batches (k, B, ...) in, what they return (k, ...) out.

    Tensors that all lanes share (a fixed teacher's) are not stacked.

    Args:
        stacks: what is stacked already, by the id of the first lane's tensor. Modules that share
            networks are given the same.
    """

    def __init__(self, modules: Sequence[nn.Module], stacks: dict[int, Tensor]) -> None:
        super().__init__()
        self.trained: list[nn.Parameter]
        # In tuples, so that torch takes none of it for this module's own.
        if len(modules) == 1:
            self.only = modules[0]
            self.trained = [p for p in self.only.parameters() if p.requires_grad]
            return
        lanes = [_WithReads(module) for module in modules]
        self._template = (lanes[0],)
        named = [
            dict(lane.named_parameters()) | dict(lane.named_buffers(remove_duplicate=False))
            for lane in lanes
        ]
        tensors = {name: _stack([each[name] for each in named], stacks) for name in named[0]}
        self._dims = {name: None if t is named[0][name] else 0 for name, t in tensors.items()}
        self._tensors = (tensors,)
        own = {name: t for name, t in tensors.items() if name.startswith("module.")}
        self.trained = [t for t in own.values() if isinstance(t, nn.Parameter) and t.requires_grad]
        for name, tensor in own.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name.replace(".", "/"), tensor)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        if hasattr(self, "only"):
            terms, made = self.only({name: tensor[0] for name, tensor in batch.items()})
            return (
                {name: term[None] for name, term in terms.items()},
                {name: tensor[None] for name, tensor in made.items()},
            )
        result: tuple[dict[str, Tensor], Batch] = self.call((batch,), 0)
        return result

    def call(self, arguments: tuple[Any, ...], dims: int | None) -> Any:
        """Run with arguments whose tensors are of the lanes (``dims`` 0) or shared (None)."""
        tensors = self._tensors[0]
        if dims == 0:
            active = len(next(iter(_tensors_of(arguments))))
            tensors = {
                name: tensor if self._dims[name] is None else tensor[:active]
                for name, tensor in tensors.items()
            }

        def one(own: Mapping[str, Tensor], *arguments: Any) -> Any:
            return functional_call(self._template[0], dict(own), arguments)

        with _LaneKernels():
            # What draws random numbers would depend on the other lanes: nothing here may.
            return vmap(one, (self._dims, *(dims for _ in arguments)), randomness="error")(
                tensors, *arguments
            )


class _WithReads(nn.Module):
    """A module and those that it reads without their being its own (see objectives)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.reads = nn.ModuleList(getattr(module, "reads", ()))

    def forward(self, *arguments: Any) -> Any:
        return self.module(*arguments)


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
def _stack(lanes: Sequence[Tensor], stacks: dict[int, Tensor]) -> Tensor:
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


def gather(data: Sequence[Batch], rows: Sequence[Tensor]) -> Batch:
    """Return each lane's rows (B,) of its data (N_i, ...) as a batch (k, B, ...).

    Images lie in memory with the lanes innermost, as the kernels below want them.
    """
    return {
        name: _interleaved([own[name][r] for own, r in zip(data, rows, strict=True)])
        for name in data[0]
    }


def _interleaved(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0][None]
    if parts[0].ndim != 4:
        return torch.stack(list(parts))
    return torch.stack([p.permute(0, 2, 3, 1) for p in parts], dim=3).permute(3, 0, 4, 1, 2)


class LaneAdam:
    """Adam (Kingma and Ba 2015) whose lanes each have a number of steps and a rate of their own.

    Args:
        parameters: what is trained: (n, ...) each, or of a single lane (...).
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], lanes: int, betas: tuple[float, float]
    ) -> None:
        self.betas = betas
        self._parameters = list(parameters)
        self._means = [torch.zeros_like(p) for p in parameters]
        self._squares = [torch.zeros_like(p) for p in parameters]
        self._steps = [0] * lanes
        self._lrs = [0.0] * lanes

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Move the first ``len(lrs)`` lanes; the others keep their state."""
        self._lrs[: len(lrs)] = lrs
        start = 0
        for stop in range(1, len(lrs) + 1):
            # Most often all lanes are at the same step, and one call moves all.
            if stop < len(lrs) and self._at(stop) == self._at(start):
                continue
            self._move(start, stop)
            start = stop
        self._steps[: len(lrs)] = [steps + 1 for steps in self._steps[: len(lrs)]]

    def _at(self, lane: int) -> tuple[int, float]:
        return self._steps[lane], self._lrs[lane]

    def _move(self, start: int, stop: int) -> None:
        def part(tensors: Sequence[Tensor]) -> list[Tensor]:
            if len(self._steps) == 1:
                return list(tensors)
            return [tensor[start:stop] for tensor in tensors]

        steps, lr = self._at(start)
        first = self._parameters[0]
        counts = torch.full((len(self._parameters),), float(steps), device=first.device)
        adam(
            part(self._parameters),
            part([p.grad for p in self._parameters if p.grad is not None]),
            part(self._means),
            part(self._squares),
            [],
            list(counts.unbind()),
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=0,
            eps=_ADAM_EPS,
            maximize=False,
        )

    def lane(self, lane: int) -> "_LaneState":
        """Return a lane's state, to keep or to replace."""
        return _LaneState(self, lane)


class _LaneState:
    """One lane of a LaneAdam, in the form in which ``torch.optim.Adam`` keeps its state."""

    def __init__(self, whole: LaneAdam, lane: int) -> None:
        self._whole, self._lane = whole, lane

    def state_dict(self) -> dict[str, Any]:
        steps, lr = self._whole._at(self._lane)
        moments = zip(self._part(self._whole._means), self._part(self._whole._squares), strict=True)
        state = {
            index: {
                "step": torch.tensor(float(steps)),
                "exp_avg": mean.clone(),
                "exp_avg_sq": square.clone(),
            }
            for index, (mean, square) in enumerate(moments)
        }
        return {"state": state, "param_groups": [{"lr": lr, "betas": self._whole.betas}]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        state = saved["state"]
        for index, (mean, square) in enumerate(
            zip(self._part(self._whole._means), self._part(self._whole._squares), strict=True)
        ):
            mean.copy_(state[index]["exp_avg"])
            square.copy_(state[index]["exp_avg_sq"])
        self._whole._steps[self._lane] = int(state[0]["step"])
        self._whole._lrs[self._lane] = float(saved["param_groups"][0]["lr"])

    def _part(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if len(self._whole._steps) == 1:
            return list(tensors)
        return [tensor[self._lane] for tensor in tensors]


class _LaneKernels(TorchFunctionMode):
    """Runs what the networks call most by kernels made for lanes.

    Between layers an image lies in memory as (B, H, W, n, C), which to a layer is one image of
    n * C channels in channels_last: convolutions are grouped ones, batch norm and pooling do not
    notice. ``vmap`` alone gives half to three quarters of the speed (docs/benchmarks.md).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))


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
        # Nothing is of a lane: a fixed network on images that all lanes share.
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
    given = dict(zip(names, how, strict=False)) | named
    usual = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
    sizes = tuple(given.get(name, usual.get(name)) for name in names)
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


_REPLACED: Mapping[Callable[..., Any], Callable[..., Any]] = {
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
