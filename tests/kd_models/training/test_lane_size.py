"""How many lanes go fastest, told by steps whose seconds the test sets."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kd_models.recipe import Recipe
from kd_models.training.lanes import size as module
from kd_models.training.lanes.size import fastest_size
from kd_models.world import World

Fastest = Callable[..., int]


@pytest.fixture
def fastest(monkeypatch: pytest.MonkeyPatch) -> Fastest:
    """``fastest(seconds, most)``: of a step of so many lanes, and how many there are."""

    def run(
        seconds: Callable[[int], float],
        most: int,
        *,
        noise: Iterator[float] | None = None,
        room: Callable[[int], float] = lambda size: float("inf"),
        steps: int = 10_000,
    ) -> int:
        delays = noise or itertools.repeat(0.0)

        class Tried:
            def __init__(self, trainings: list[None], recipe: Recipe, world: World) -> None:
                self.size, self.room = len(trainings), room(len(trainings))

            def step(self) -> float:
                return seconds(self.size) + next(delays)

        monkeypatch.setattr(module, "_Tried", Tried)
        make: Any = lambda size: [None] * size  # noqa: E731
        return fastest_size(make, most, Recipe(), World(), steps)

    return run


def overhead(size: int) -> float:
    """Small students: a step is mostly overhead, up to some sixty lanes."""
    return 0.010 + 0.0002 * size


def busy(size: int) -> float:
    """One keeps the processor busy: lanes gain nothing."""
    return 0.2 * size


def test_ever_more_are_tried_while_that_is_faster(fastest: Fastest) -> None:
    assert fastest(overhead, 50) == 50
    assert fastest(busy, 50) == 1
    assert fastest(lambda size: 0.01 * max(1, size / 16), 64) == 16
    assert fastest(overhead, 1) == 1


@pytest.mark.parametrize("first", range(4))
def test_noise_cannot_flip_the_choice(fastest: Fastest, first: int) -> None:
    """Whatever else runs on the machine slows some steps by ten times what they take: once as many
    as 50 lanes were four times faster, and one was taken."""
    bursts = [0.1 if (n + first) % 3 else 0.0 for n in range(3)]
    assert fastest(overhead, 50, noise=itertools.cycle(bursts)) == 50
    assert fastest(busy, 50, noise=itertools.cycle(bursts)) == 1


def test_what_does_not_fit_into_memory_is_not_tried(fastest: Fastest) -> None:
    assert fastest(overhead, 64, room=lambda size: 20) == 16


def test_where_there_are_too_few_steps_all_go_together_unless_one_is_busy(fastest: Fastest) -> None:
    assert fastest(overhead, 50, steps=20) == 50
    assert fastest(busy, 50, steps=20) == 1
    assert fastest(overhead, 50, steps=20, noise=itertools.cycle([0.2, 0.2, 0.0])) == 50
