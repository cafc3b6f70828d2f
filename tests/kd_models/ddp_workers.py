"""What one process and each of two make of the same training; test_world.py compares."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from two_processes import run

from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.networks import Normalisation
from kd_models.methods.objectives import LOSS
from kd_models.methods.pkdgan.objectives import DistillationWeights, GanWeights
from kd_models.methods.pkdgan.step import GanLearner, StepConfig
from kd_models.recipe import Recipe
from kd_models.training.epochs import DataTooSmall, Diverged, Epoch, Training, train, train_together
from kd_models.training.state import TrainingState
from kd_models.world import World

Measured = dict[str, Any]
Weights = dict[str, Tensor]


class Stopped(Exception):
    """The training is interrupted here."""


def learner_of(
    structure: str, normalisation: Normalisation, dtype: torch.dtype = torch.float64, seed: int = 0
) -> GanLearner:
    network = NetworkConfig(channels=1, widths=(1, 2, 4), normalisation=normalisation)
    config = StepConfig(
        structure=structure,
        teacher=network,
        student=network,
        teacher_weights=GanWeights(),
        student_weights=GanWeights(),
        distillation_weights=DistillationWeights(),
    )
    learner = GanLearner(config, seed)
    for made in learner.networks.values():
        made.to(dtype)
    return learner


def images_of(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images of different contrast, so that statistics of half a batch are not the whole's."""
    generator = torch.Generator().manual_seed(1)
    contrast = torch.linspace(0.1, 1, count).view(-1, 1, 1, 1)
    return ((torch.rand(count, 1, 32, 32, generator=generator) * 2 - 1) * contrast).to(dtype)


def weights_of(learner: GanLearner) -> Weights:
    return {
        f"{name}/{key}": tensor.clone()
        for name, network in learner.networks.items()
        for key, tensor in network.state_dict().items()
    }


def mapped_rows(world: World) -> Measured:
    seen: list[int] = []

    def double(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return rows * 2

    rows = {count: torch.arange(3.0 * count).view(count, 3) for count in (1, 2, 5, 7, 8)}
    whole = {count: world.map_rows(double, part) for count, part in rows.items()}
    scores = learner_of("kdgan-1", "batch").score(images_of(7), world)
    targets = learner_of("kdgan-1", "batch").targets(images_of(7), world)
    return {"rows": whole, "seen": seen, "scores": scores, "targets": targets}


def exchanged(world: World) -> Measured:
    values = torch.tensor([1.0, 10.0]) * (world.rank + 1)
    norm, plain = nn.BatchNorm2d(2), nn.Linear(1, 1)
    norm.running_mean.fill_(world.rank + 1.0)
    norm.running_var.fill_(4.0 * world.rank)
    norm.num_batches_tracked.fill_(3)
    world.average_buffers(plain)
    world.average_buffers(norm, plain)
    return {
        "mean": world.mean(values),
        "values": values,
        "buffers": dict(norm.named_buffers()),
    }


def gradients(world: World, normalisation: Normalisation, dtype: torch.dtype) -> Measured:
    """Terms and gradients of the first step, before Adam makes anything of them."""
    learner = learner_of("kdgan-4", normalisation, dtype)
    batch = {"x": images_of(8, dtype)[world.rank :: world.size]}
    found: Measured = {}
    objectives = learner.objectives()
    # All before the first forward, as in training: DDP's start writes to the weights. By name,
    # since DDP reduces no gradient once it is collected.
    wrapped = [world.wrap(objective) for objective in objectives]
    for objective, module in zip(objectives, wrapped, strict=True):
        terms, made = module(batch)
        terms[LOSS].backward()
        batch |= made
        values = world.mean(torch.stack([term.detach() for term in terms.values()]))
        found |= {f"term/{name}": value for name, value in zip(terms, values, strict=True)}
        found |= {name: p.grad for name, p in objective.named_parameters()}
    return found


def fitted(
    world: World,
    structure: str,
    normalisation: Normalisation,
    epochs: int,
    dtype: torch.dtype = torch.float64,
) -> Measured:
    """One step an epoch, over the whole batch of 8."""
    learner, reports = learner_of(structure, normalisation, dtype), []
    train(
        learner,
        images_of(8, dtype),
        Recipe(epochs=epochs, batch_size=8),
        seed=0,
        world=world,
        on_epoch=lambda state, terms: reports.append(terms),
    )
    return {"weights": weights_of(learner), "terms": reports}


def resumed(world: World, structure: str, folder: Path) -> Measured:
    """Three epochs at one go, and stopped after the first; both in single precision."""
    recipe, images = Recipe(epochs=3, batch_size=4), images_of(9, torch.float32)
    path = folder / f"{structure}.pt"

    def make(seed: int) -> GanLearner:
        learner = learner_of(structure, "batch", torch.float32, seed)
        fixed = learner_of(structure, "batch", torch.float32).networks["teacher.generator"]
        learner.load({"teacher.generator": fixed.state_dict()})
        return learner

    def save_and_stop(state: TrainingState, terms: dict[str, float]) -> None:
        if world.rank == 0:
            state.save(path)
        raise Stopped

    undisturbed = make(0)
    train(undisturbed, images, recipe, 0, world=world)
    with suppress(Stopped):
        train(make(0), images, recipe, 0, world=world, on_epoch=save_and_stop)
    world.mean(torch.zeros(1))  # no process reads before rank 0 has written
    again = make(99)
    torch.manual_seed(world.rank)
    train(again, images, recipe, 0, world=world, state=TrainingState.load(path))
    return {"undisturbed": weights_of(undisturbed), "resumed": weights_of(again)}


def lanes(world: World) -> Measured:
    """Four lanes of unlike data in one pack, of which one diverges; and the others each alone."""
    recipe = Recipe(epochs=3, batch_size=4)

    def lane(seed: int) -> Training:
        images = images_of(8 + seed)
        if seed == 2:
            images[1] = math.nan
        return Training(learner_of("alone", "batch", seed=seed), {"x": images}, seed)

    together = [lane(seed) for seed in range(4)]
    lost: set[int] = set()
    train_together(together, recipe, lambda epoch: lost.update(epoch.failed) or (), world=world)
    found: Measured = {"lost": lost}
    for seed in (0, 1, 3):
        alone = lane(seed)
        train_together([alone], recipe, lambda epoch: (), world=world)
        found[f"together/{seed}"] = weights_of(cast(GanLearner, together[seed].learner))
        found[f"alone/{seed}"] = weights_of(cast(GanLearner, alone.learner))
    tested = images_of(5)

    def score(epoch: Epoch) -> tuple[()]:
        scores = epoch.score({0: tested, 1: tested}, {0: {}, 1: {}})
        found["scores"] = [scores[0], scores[1]]
        return ()

    train_together([lane(0), lane(1)], Recipe(epochs=1, batch_size=4), score, world=world)
    return found


def failures(world: World) -> Measured:
    """The messages of what every process must raise, each for itself."""
    one_nan = images_of(8)
    one_nan[3, 0, 0, 0] = math.nan

    def message(error: type[Exception], images: Tensor) -> str:
        try:
            train(learner_of("alone", "per-image"), images, Recipe(epochs=2), 0, world=world)
        except error as raised:
            return str(raised)
        return ""

    return {
        "diverged": message(Diverged, one_nan),
        "too small": message(DataTooSmall, images_of(world.size - 1)),
    }


def measure(world: World, folder: Path) -> Measured:
    double, single = torch.float64, torch.float32
    parts: dict[str, Callable[[], Measured]] = {
        "map_rows": lambda: mapped_rows(world),
        "exchange": lambda: exchanged(world),
        "gradients/per-image": lambda: gradients(world, "per-image", double),
        "gradients/per-image/single": lambda: gradients(world, "per-image", single),
        "gradients/batch": lambda: gradients(world, "batch", double),
        "fit/kdgan-2/per-image/3": lambda: fitted(world, "kdgan-2", "per-image", 3),
        "fit/kdgan-4/per-image/1": lambda: fitted(world, "kdgan-4", "per-image", 1),
        "fit/kdgan-4/per-image/3": lambda: fitted(world, "kdgan-4", "per-image", 3),
        "fit/kdgan-4/per-image/3/single": lambda: fitted(world, "kdgan-4", "per-image", 3, single),
        "fit/kdgan-4/batch/1": lambda: fitted(world, "kdgan-4", "batch", 1),
        "fit/kdgan-4/batch/3": lambda: fitted(world, "kdgan-4", "batch", 3, single),
        "resume/kdgan-2": lambda: resumed(world, "kdgan-2", folder),
        "resume/kdgan-4": lambda: resumed(world, "kdgan-4", folder),
        "lanes": lambda: lanes(world),
        "failures": lambda: failures(world),
    }
    return {name: part() for name, part in parts.items()}


if __name__ == "__main__":
    run(measure)
