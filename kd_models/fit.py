"""The only epoch loop of the project."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam

from kd_models.objectives import LOSS, Batch
from kd_models.recipe import Recipe
from kd_models.state import TrainingState
from kd_models.step import Learner
from kd_models.world import World


class Diverged(ArithmeticError):
    """A loss is no longer a finite number."""


class DataTooSmall(ValueError):
    """There are fewer images than processes to train on them."""


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
    """Train ``learner`` on normal images (N, C, S, S) to the end of ``recipe``.

    Args:
        state: an unfinished training to go on with: a run stopped after any epoch and resumed
            ends in the same weights as one never stopped (bit for bit on a CPU).
        on_epoch: called in every process after each epoch with the state to save and the
            epoch's mean of every term over all images and processes.

    Raises:
        Diverged: a term is not finite; raised in every process, in the same epoch.
        DataTooSmall: fewer images than processes.
    """
    world = world or World()
    for network in learner.trained.values():
        # On one CPU core a teacher trains 7 to 17% faster in this layout (docs/lab-notes.md).
        network.to(world.device).train()
        network.to(memory_format=torch.channels_last)
    objectives = learner.objectives()
    optimizers = [Adam(o.parameters(), lr=recipe.lr, betas=recipe.betas) for o in objectives]
    if state is None:
        torch.manual_seed(seed)
        state = TrainingState.start()
    else:
        state.restore(learner.trained, optimizers)
    images = images.to(world.device, memory_format=torch.channels_last)
    data = {"x": images, **learner.targets(images, world)}
    wrapped = [world.wrap(objective) for objective in objectives]
    batch_size, steps = batches_per_epoch(len(images), recipe.batch_size, world.size)

    for epoch in range(state.epoch, recipe.epochs):
        sums: dict[str, Tensor] = {}
        for step, rows in enumerate(epoch_order(len(images), batch_size, steps, seed, epoch)):
            lr = recipe.lr_at(epoch * steps + step, recipe.epochs * steps)
            own = rows[world.rank :: world.size].to(world.device)
            batch = {name: tensor[own] for name, tensor in data.items()}
            for name, term in train_step(wrapped, optimizers, batch, lr).items():
                sums[name] = sums[name] + term if name in sums else term
        world.average_buffers(*learner.trained.values())
        means = world.mean(torch.stack(list(sums.values())) / steps).tolist()
        terms = dict(zip(sums, means, strict=True))
        _check_finite(terms, epoch + 1)
        state = TrainingState.capture(epoch + 1, learner.trained, optimizers)
        on_epoch(state, terms)


def train_step(
    objectives: list[nn.Module], optimizers: list[Adam], batch: Batch, lr: float
) -> dict[str, Tensor]:
    """Minimise each objective once on the batch; return every term, detached."""
    terms: dict[str, Tensor] = {}
    for side, (objective, optimizer) in enumerate(zip(objectives, optimizers, strict=True)):
        optimizer.param_groups[0]["lr"] = lr
        own_terms, made = objective(batch)
        optimizer.zero_grad(set_to_none=True)
        own_terms[LOSS].backward()
        optimizer.step()
        batch = batch | made
        own_terms[f"{LOSS}/{side}"] = own_terms.pop(LOSS)
        terms |= {name: term.detach() for name, term in own_terms.items()}
    return terms


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
    images: int, batch_size: int, steps: int, seed: int, epoch: int
) -> Iterator[Tensor]:
    """Yield the rows (batch_size,) of each batch: a fresh permutation that any process at any
    time can draw again from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator)
    yield from order[: steps * batch_size].split(batch_size)


def _check_finite(terms: Mapping[str, float], epoch: int) -> None:
    bad = [name for name, value in terms.items() if not torch.isfinite(torch.tensor(value))]
    if bad:
        raise Diverged(f"{', '.join(bad)} not finite in epoch {epoch}")
