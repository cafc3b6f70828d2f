"""Trainings as lanes of one network against the same ones, each on its own."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_models.methods.base import Learner
from kd_models.recipe import Recipe
from kd_models.training.epochs import Epoch, Training, learner_on, train, train_together
from kd_models.world import World

RECIPE = Recipe(epochs=2, batch_size=4, lr=0.001)
COUNTS = (8, 13, 25)
"""of images, so that some lanes rest at the end of an epoch"""


def images(count: int, seed: int = 0, channels: int = 1) -> Tensor:
    """Return images (N, C, 32, 32) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, 32, 32, generator=generator) * 2 - 1


def assert_lanes_are_as_alone(
    learner: Callable[[int], Learner],
    recipe: Recipe = RECIPE,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    terms_rtol: float = 1e-4,
    scores: Mapping[str, float] | None = None,
    double: bool = False,
) -> None:
    """Train, calibrate and score three learners both ways, and compare all that comes of it.

    Args:
        learner: makes the learner of a place from 0, the same one each time.
        recipe: how they are trained.
        rtol: by which networks may differ.
        atol: likewise.
        terms_rtol: by which terms may differ.
        scores: ``rtol`` and ``atol`` of the scores, where they differ more.
        double: whether images are in double precision, as the learners' networks are.
    """
    unseen = images(6, seed=9)
    data = [images(count, seed) for seed, count in enumerate(COUNTS)]
    if double:
        unseen, data = unseen.double(), [x.double() for x in data]
    together = [learner_on(learner(place), World()) for place in range(len(COUNTS))]
    lanes = []
    for place, (own, x) in enumerate(zip(together, data, strict=True)):
        own.prepare(x, World())
        lanes.append(Training(own, {"x": x, **own.targets(x, World())}, place))
    terms: list[Mapping[int, Mapping[str, float]]] = []
    scored: dict[int, Tensor] = {}

    def after_epoch(epoch: Epoch) -> tuple[()]:
        assert not epoch.failed
        assert not epoch.calibrate()
        terms.append(epoch.terms)
        places = range(len(data))
        scored.update(epoch.score(dict.fromkeys(places, unseen), {n: {} for n in places}))
        return ()

    train_together(lanes, recipe, after_epoch)
    bounds: dict[str, Any] = {"rtol": rtol, "atol": atol}
    for place, x in enumerate(data):
        alone = learner(place)
        own_terms = _trained_alone(alone, x, recipe, place)
        assert [found[place] for found in terms] == [
            pytest.approx(found, rel=terms_rtol) for found in own_terms
        ]
        for name, network in alone.trained.items():
            found_state = together[place].trained[name].state_dict()
            for key, expected in network.state_dict().items():
                torch.testing.assert_close(
                    found_state[key], expected, **bounds, msg=lambda m, key=key: f"{key}: {m}"
                )
        torch.testing.assert_close(
            scored[place], alone.score(unseen, World()), **(scores or bounds)
        )


def _trained_alone(
    learner: Learner, x: Tensor, recipe: Recipe, seed: int
) -> list[Mapping[str, float]]:
    """Train and calibrate a learner; return its terms by epoch."""
    before, terms = _flat(learner), list[Mapping[str, float]]()
    train(learner, x, recipe, seed, on_epoch=lambda state, found: terms.append(found))
    learner.calibrate(x, World())
    assert not torch.equal(_flat(learner), before), "it has not trained at all"
    return terms


def _flat(learner: Learner) -> Tensor:
    return torch.cat(
        [p.detach().flatten() for net in learner.trained.values() for p in net.parameters()]
    )
