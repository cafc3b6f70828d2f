"""The only epoch loop of the project."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from kd_models.methods.base import CannotTrain, Learner
from kd_models.methods.draws import epoch_draws
from kd_models.methods.objectives import Batch
from kd_models.recipe import Recipe
from kd_models.training.lanes import Lanes, gather
from kd_models.training.state import TrainingState
from kd_models.world import World


class Diverged(ArithmeticError):
    """A loss is no longer a finite number."""


class DataTooSmall(ValueError):
    """There are fewer images than processes to train on them."""


@dataclass(frozen=True, eq=False)
class Training:
    """One training among those that run together.

    Attributes:
        learner: its networks, on the device of the world.
        data: ``x``, normal images (N, C, S, S), and its ``Learner.targets``, on the same device.
        seed: of the order of its images.
        state: an unfinished training to go on with.
    """

    learner: Learner
    data: Batch
    seed: int
    state: TrainingState | None = None


class Epoch:
    """An epoch that all trainings which are still active have just finished.

    Attributes:
        number: from 1.
        terms: by the training's place, the mean of every term over all images and processes.
        failed: by the training's place, the error of those that end here: a term is not finite,
            or the learner cannot be fitted.
    """

    def __init__(
        self,
        number: int,
        lanes: Lanes,
        active: Mapping[int, Training],
        terms: Mapping[int, Mapping[str, float]],
        failed: Mapping[int, Exception],
        world: World,
    ) -> None:
        self.number, self.terms, self.failed = number, terms, failed
        self._lanes, self._active, self._world = lanes, active, world

    def calibrate(self) -> dict[int, CannotTrain]:
        """Calibrate the learners; return by place the errors of those that cannot be."""
        failed: dict[int, CannotTrain] = {}
        for place, training in self._active.items():
            if place not in self.failed:
                try:
                    training.learner.calibrate(training.data["x"], self._world)
                except CannotTrain as error:
                    failed[place] = error
        # As ``World.in_every_process``, once for all learners.
        for elsewhere in self._world.gather({p: str(error) for p, error in failed.items()}):
            for place, message in elsewhere.items():
                failed.setdefault(place, CannotTrain(f"in another worker: {message}"))
        return failed

    def score(
        self, images: Mapping[int, Tensor], targets: Mapping[int, Batch]
    ) -> dict[int, Tensor]:
        """Return by place the novelty scores (N_i,) of images (N_i, C, S, S); see Lanes.score.

        Calibrate first. Scores of trainings that failed mean nothing.
        """
        scores = self._lanes.score(
            [images[place] for place in self._active], [targets[place] for place in self._active]
        )
        return dict(zip(self._active, scores, strict=True))

    def state(self, place: int) -> TrainingState:
        """Return the state of a training. Its tensors are in use: save it before going on."""
        return self._lanes.state_of(list(self._active).index(place), self.number)


def train(
    learner: Learner,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    *,
    world: World | None = None,
    state: TrainingState | None = None,
    on_epoch: Callable[[TrainingState, Mapping[str, float]], None] = lambda state, terms: None,
) -> None:
    """Train one learner on normal images (N, C, S, S) to the end of ``recipe``.

    Args:
        learner: what is trained.
        images: the normal images.
        recipe: how.
        seed: of the order of the images.
        world: the processes that train it together; this one alone by default.
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
    learner_on(learner, world)
    world.in_every_process(lambda: learner.prepare(x, world), CannotTrain)

    def after_epoch(epoch: Epoch) -> Collection[int]:
        for error in epoch.failed.values():
            raise error
        on_epoch(epoch.state(0), epoch.terms[0])
        return ()

    training = Training(learner, {"x": x, **learner.targets(x, world)}, seed, state)
    train_together([training], recipe, after_epoch, world=world)


def train_together(
    trainings: Sequence[Training],
    recipe: Recipe,
    after_epoch: Callable[[Epoch], Collection[int]],
    *,
    world: World | None = None,
) -> None:
    """Train learners as lanes to the end of ``recipe``.

    All run the same epochs, each in its own order; where one has less data its lane rests at the
    end of each. A training that diverges ends with that epoch, the others go on unchanged.

    Args:
        trainings: of prepared learners of one shape, on :func:`learner_on` their device, whose
            data gives batches of one size; their states, if any, are of one epoch.
        recipe: how.
        after_epoch: called in every process after each epoch; returns the places of trainings
            that end here besides those that failed.
        world: the processes that train them together; this one alone by default.

    Raises:
        DataTooSmall: fewer images than processes.
    """
    world = world or World()
    sizes = [batches_per_epoch(len(t.data["x"]), recipe.batch_size, world.size) for t in trainings]
    batch_size = sizes[0][0]
    steps = [own for _, own in sizes]
    # Lanes that rest come last, so that those at work are always the first.
    order = sorted(range(len(trainings)), key=lambda place: -steps[place])
    active = {place: trainings[place] for place in order}
    lanes = Lanes([training.learner for training in active.values()], recipe.betas, world)
    start = 0
    for lane, training in enumerate(active.values()):
        if training.state is not None:
            lanes.restore(lane, training.state)
            start = training.state.epoch

    for number in range(start + 1, recipe.epochs + 1):
        own_steps = [steps[place] for place in active]
        terms = _run_epoch(
            lanes, list(active.values()), own_steps, batch_size, number, recipe, world
        )
        means = dict(zip(active, terms, strict=True))
        epoch = Epoch(number, lanes, active, means, _diverged(means, number), world)
        ended = {*epoch.failed, *after_epoch(epoch)}
        del epoch  # it holds these lanes, which may go
        if ended and number < recipe.epochs:
            lost = [lane for lane, place in enumerate(active) if place in ended]
            active = {place: t for place, t in active.items() if place not in ended}
            if not active:
                return
            lanes = lanes.without(lost)


def _run_epoch(
    lanes: Lanes,
    trainings: Sequence[Training],
    steps: Sequence[int],
    batch_size: int,
    number: int,
    recipe: Recipe,
    world: World,
) -> list[dict[str, float]]:
    """Run one epoch of trainings sorted by their ``steps``; return the mean terms of each."""
    lanes.train()
    orders = [
        epoch_order(len(t.data["x"]), batch_size, own, t.seed, number - 1, world.device)
        for t, own in zip(trainings, steps, strict=True)
    ]
    draws = [epoch_draws(t.learner.draws(), batch_size, t.seed, number - 1) for t in trainings]
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for step in range(steps[0]):
        working = [own for own in steps if step < own]
        rows = [next(order)[world.rank :: world.size] for order in orders[: len(working)]]
        batch = gather([t.data for t in trainings[: len(working)]], rows)
        batch |= stacked([next(own) for own in draws[: len(working)]], world)
        lrs = [recipe.lr_at((number - 1) * own + step, recipe.epochs * own) for own in working]
        for name, term in lanes.train_step(batch, lrs, step).items():
            if name not in sums:
                sums[name], counts[name] = torch.zeros_like(term), torch.zeros_like(term)
            sums[name][: len(working)] += term
            counts[name][: len(working)] += 1
    lanes.average_buffers()
    totals, times = (torch.stack(list(parts.values())) for parts in (sums, counts))
    means = world.mean(totals / times).T.tolist()
    return [dict(zip(sums, own, strict=True)) for own in means]


def fit_each(
    trainings: Sequence[Training], after_epoch: Callable[[Epoch], object], *, world: World
) -> None:
    """Fit learners without objectives, one after another, each in a single epoch.

    Args:
        trainings: of prepared learners.
        after_epoch: called in every process after each is fitted.
        world: the processes that fit them together.
    """
    for place, training in enumerate(trainings):
        failed: dict[int, Exception] = {}
        fit = partial(training.learner.fit, training.data["x"], world)
        try:
            world.in_every_process(fit, CannotTrain)
        except CannotTrain as error:
            failed[place] = error
        lanes = Lanes([training.learner], Recipe().betas, world)  # for its scores: none trains
        after_epoch(Epoch(1, lanes, {place: training}, {place: {}}, failed, world))


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

    Raises:
        DataTooSmall: there are fewer images than workers.
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
    """Yield the rows (batch_size,) of each batch of a fresh permutation.

    Any process at any time, with any device, can draw it again from the seed and the epoch alone.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator)
    yield from order[: steps * batch_size].to(device or order.device).split(batch_size)


def stacked(drawn: Sequence[Batch], world: World) -> Batch:
    """Return what was drawn for each lane, as a batch (k, B, ...) of this process's images."""
    return {
        name: torch.stack([own[name][world.rank :: world.size] for own in drawn]).to(world.device)
        for name in drawn[0]
    }


def _diverged(terms: Mapping[int, Mapping[str, float]], number: int) -> dict[int, Exception]:
    failed: dict[int, Exception] = {}
    for place, own in terms.items():
        bad = [name for name, value in own.items() if not math.isfinite(value)]
        if bad:
            failed[place] = Diverged(f"{', '.join(bad)} not finite in epoch {number}")
    return failed
