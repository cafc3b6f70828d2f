"""What one process and each of two make of ECA_MKDAD; test_step.py compares."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from two_processes import run

from kd_models.methods.base import PackContext
from kd_models.methods.eca_mkdad.scores import StudentConfig
from kd_models.methods.eca_mkdad.step import DistilConfig, DistilLearner
from kd_models.methods.objectives import LOSS
from kd_models.methods.vgg16_weights import read_teacher
from kd_models.world import World

Measured = dict[str, Any]


def images_of(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    contrast = torch.linspace(0.1, 1, count).view(-1, 1, 1, 1)
    return (torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1) * contrast


def learner_of(**changes: Any) -> DistilLearner:
    settings = {"student": StudentConfig(placement="eca"), "lambda_": 0.5, "teacher": "0" * 64}
    return DistilLearner(DistilConfig(**(settings | changes)), 0, PackContext(TEACHER))


def known(world: World) -> Measured:
    """Scores and targets of five images, which two processes cannot share evenly."""
    images, learner = images_of(5), learner_of()
    kept = learner.scoring_targets(images, world)
    return {
        "live": learner.score(images, world, {}),
        "given": learner.score(images, world, kept),
        "scoring": kept,
        "float32": learner.targets(images, world),
        "float16": learner_of(precision="float16").targets(images, world),
    }


def gradients(world: World, **changes: Any) -> Measured:
    """Terms and gradients of the second of two steps that change nothing.

    In evaluation mode, where an image is normalised without the others of its half batch.
    """
    learner = learner_of(**changes)
    (objective,) = learner.objectives()
    objective.eval()
    wrapped = world.wrap(objective)
    for _ in range(2):
        objective.zero_grad()
        terms, _ = wrapped({"x": images_of(4)[world.rank :: world.size]})
        terms[LOSS].backward()
    means = world.mean(torch.stack([term.detach() for term in terms.values()]))
    found = {f"term/{name}": value for name, value in zip(terms, means, strict=True)}
    trained = {name: p.grad for name, p in objective.named_parameters()}
    return found | {name: grad for name, grad in trained.items() if grad is not None}


def without_deep_layers(world: World) -> str:
    """What goes wrong when the last blocks, which nothing scores, get no gradient."""
    try:
        gradients(world, training_layers=(2, 3), scoring_layers=(3,))
    except RuntimeError as error:
        return str(error)
    return ""


def measure(world: World, folder: Path) -> Measured:
    return {
        "known": known(world),
        "gradients": gradients(world),
        "without deep layers": without_deep_layers(world),
    }


if __name__ == "__main__":
    TEACHER = read_teacher("random", Path()).state
    run(measure)
