"""The only epoch loop of the project."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd_models.lanes import Lanes, gather
from kd_models.objectives import Batch
from kd_models.recipe import Recipe
from kd_models.state import TrainingState
from kd_models.step import Learner
from kd_models.world import World


class Diverged(ArithmeticError):
    """A loss is no longer a finite number."""


class DataTooSmall(ValueError):
    """There are fewer images than processes to train on them."""


@dataclass(frozen=True, eq=False)
class Training:
    """One training among those of a pack."""

    learner: Learner
    data: Batch
    """``x``, normal images (N, C, S, S), and what a fixed teacher says of them, (N, ...) by name;
    on ``world.device``"""
    seed: int
    state: TrainingState | None = None
    """an unfinished training to go on with"""


class Epoch:
    """An epoch that all trainings of a pack have just finished."""

    def __init__(
        self, number: int, lanes: Lanes, active: Sequence[int], terms: Sequence[Mapping[str, float]]
    ) -> None:
        self.number = number
        """from 1"""
        self.terms = {index: dict(own) for index, own in zip(active, terms, strict=True)}
        """by the training's place in the pack, the mean of every term over all images and
        processes"""
        self.lost: dict[int, Diverged] = {}
        """the trainings that end here, by place: those diverged, and those that are added"""
        self._lanes, self._active = lanes, list(active)
        for index, own in self.terms.items():
            bad = [name for name, value in own.items() if not torch.isfinite(torch.tensor(value))]
            if bad:
                self.lost[index] = Diverged(f"{', '.join(bad)} not finite in epoch {number}")

    def score(
        self, images: Mapping[int, Tensor], targets: Mapping[int, Batch]
    ) -> dict[int, Tensor]:
        """Return by place the novelty scores (N_i,) of images (N_i, C, S, S); see Lanes.score."""
        scores = self._lanes.score(
            [images[index] for index in self._active], [targets[index] for index in self._active]
        )
        return dict(zip(self._active, scores, strict=True))

    def state(self, index: int) -> TrainingState:
        """Return the state of a training. Its tensors are in use: save it before going on."""
        lane = self._active.index(index)
        return TrainingState.capture(
            self.number,
            self._lanes.learners[lane].trained,
            [optimizer.lane(lane) for optimizer in self._lanes.optimizers],
        )


def fit(
    learner: Learner,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    world: World | None = None,
    state: TrainingState | None = None,
    on_epoch: Callable[[TrainingState, dict[str, float]], None] = lambda state, terms: None,
) -> None:
    """Train one learner on normal images (N, C, S, S) to the end of ``recipe``.

    Args:
        state: an unfinished training to go on with: a run stopped after any epoch and resumed
            ends in the same weights as one never stopped (bit for bit on a CPU).
        on_epoch: called in every process after each epoch with the state to save and the
            epoch's terms.

    Raises:
        Diverged: a term is not finite; raised in every process, in the same epoch.
        DataTooSmall: fewer images than processes.
    """
    world = world or World()
    x = on_device(images, world)
    learner = learner_on(learner, world)
    training = Training(learner, {"x": x, **learner.targets(x, world)}, seed, state)
    for epoch in fit_pack([training], recipe, world=world):
        for error in epoch.lost.values():
            raise error
        on_epoch(epoch.state(0), epoch.terms[0])


def fit_pack(
    trainings: Sequence[Training], recipe: Recipe, *, world: World | None = None
) -> Iterator[Epoch]:
    """Train the lanes of a pack to the end of ``recipe``, telling of every epoch.

    Those that diverge (or are added to ``Epoch.lost``) end with that epoch, the others go on
    untouched. All run the same epochs, each in its own order; where one has less data its lane
    rests at the end of each.

    Args:
        trainings: of learners of one shape, on :func:`learner_on` their device, whose data gives
            batches of one size; their states, if any, are of one epoch.

    Raises:
        DataTooSmall: fewer images than processes.
    """
    world = world or World()
    sizes = [batches_per_epoch(len(t.data["x"]), recipe.batch_size, world.size) for t in trainings]
    batch_size = sizes[0][0]
    steps = [own for _, own in sizes]
    # Lanes that rest come last, so that those at work are always the first.
    active = sorted(range(len(trainings)), key=lambda index: -steps[index])
    lanes = Lanes([trainings[index].learner for index in active], recipe.betas, world)
    start = 0
    for lane, index in enumerate(active):
        state = trainings[index].state
        if state is not None:
            optimizers = [optimizer.lane(lane) for optimizer in lanes.optimizers]
            state.restore(trainings[index].learner.trained, optimizers)
            start = state.epoch

    for number in range(start + 1, recipe.epochs + 1):
        lanes.train()
        own = [trainings[index] for index in active]
        orders = [
            epoch_order(
                len(t.data["x"]), batch_size, steps[index], t.seed, number - 1, world.device
            )
            for t, index in zip(own, active, strict=True)
        ]
        sums: dict[str, Tensor] = {}
        for step in range(steps[active[0]]):
            working = [index for index in active if step < steps[index]]
            rows = [next(order)[world.rank :: world.size] for order in orders[: len(working)]]
            batch = gather([t.data for t in own[: len(working)]], rows)
            lrs = [
                recipe.lr_at((number - 1) * steps[i] + step, recipe.epochs * steps[i])
                for i in working
            ]
            for name, term in lanes.train_step(batch, lrs).items():
                if name in sums:
                    sums[name][: len(working)] += term
                else:
                    sums[name] = term.clone()
        lanes.average_buffers()
        counts = torch.tensor([steps[index] for index in active], device=world.device)
        means = world.mean(torch.stack(list(sums.values())) / counts).T.tolist()
        terms = [dict(zip(sums, lane, strict=True)) for lane in means]
        epoch = Epoch(number, lanes, active, terms)
        yield epoch
        if epoch.lost and number < recipe.epochs:
            lost = {lane for lane, index in enumerate(active) if index in epoch.lost}
            active = [index for index in active if index not in epoch.lost]
            if not active:
                return
            lanes = lanes.without(lost)


def on_device(images: Tensor, world: World) -> Tensor:
    """Bring images (N, C, S, S) to where they are trained on, in the layout that is fastest."""
    return images.to(world.device, memory_format=torch.channels_last)


def learner_on(learner: Learner, world: World) -> Learner:
    """Bring what a learner trains to where it is trained, in the layout that is fastest."""
    for network in learner.trained.values():
        # On one CPU core a teacher trains 7 to 17% faster in this layout (docs/lab-notes.md).
        network.to(world.device)
        network.to(memory_format=torch.channels_last)
    return learner


def batches_per_epoch(images: int, batch_size: int, workers: int) -> tuple[int, int]:
    """Return the batch size over all workers and the number of batches in an epoch.

    A batch larger than the data is cut to it, and every batch splits evenly over the workers.
    """
    size = min(batch_size, images)
    size -= size % workers
    if size == 0:
        raise DataTooSmall(
            f"{workers} workers cannot share batches of {min(batch_size, images)} images "
            f"({images} images to train on, batch_size {batch_size}): use fewer workers"
        )
    return size, images // size


def epoch_order(
    images: int,
    batch_size: int,
    steps: int,
    seed: int,
    epoch: int,
    device: torch.device | None = None,
) -> Iterator[Tensor]:
    """Yield the rows (batch_size,) of each batch: a fresh permutation that any process at any
    time, with any device, can draw again from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator)
    yield from order[: steps * batch_size].to(device or order.device).split(batch_size)


def fastest_stack(
    make: Callable[[int], Sequence[Training]],
    most: int,
    recipe: Recipe,
    world: World,
    steps: int,
) -> int:
    """Return how many trainings of one shape go fastest together, by trying a few steps of each.

    Args:
        make: so many of them, which may be spoilt.
        most: so many there are.
        steps: of one training, from its first epoch to its last.

    Ever more are tried, until that is no longer faster, or would not fit into memory. Where there
    are too few steps for that, all go together, unless one alone keeps the processor busy.
    """
    if most == 1:
        return 1
    if steps < _WORTH_MEASURING:
        seconds, _ = _try_steps(make(1), recipe, world)
        return 1 if max(world.gather(seconds)) > _BUSY else most
    best, best_rate, size = 1, 0.0, 1
    while True:
        seconds, room = _try_steps(make(size), recipe, world)
        measured = world.gather((seconds, room))
        rate = size / max(taken for taken, _ in measured)
        if rate < best_rate * _FASTER:
            return best
        best, best_rate = size, rate
        if size == most or any(left < size * _GROWTH for _, left in measured):
            return best
        size = min(size * _GROWTH, most)


_FASTER, _GROWTH = 1.05, 4
_WORTH_MEASURING = 100
"""steps: measuring takes about four"""
_BUSY = 0.1
"""seconds of a step"""


def _try_steps(trainings: Sequence[Training], recipe: Recipe, world: World) -> tuple[float, float]:
    """Return the seconds of a step, and how many lanes like these there is memory for."""
    alone = World(device=world.device)
    size, _ = batches_per_epoch(len(trainings[0].data["x"]), recipe.batch_size, world.size)
    rows = torch.arange(size // world.size, device=world.device)
    before = _free_memory(world.device)
    try:
        lanes = Lanes([training.learner for training in trainings], recipe.betas, alone)
        lanes.train()
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            batch = gather([t.data for t in trainings], [rows] * len(trainings))
            lanes.train_step(batch, [recipe.lr] * len(trainings))
            if world.device.type == "cuda":
                torch.cuda.synchronize(world.device)
            taken.append(time.perf_counter() - began)
    except torch.OutOfMemoryError:
        return math.inf, 0.0
    used = max(before - _free_memory(world.device), 1)
    # The first step is slower, and half of what is free is left to others.
    return min(taken[1:]), len(trainings) * before / 2 / used


def _free_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free: of the GPU, or of this machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
