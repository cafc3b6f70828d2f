import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kd_models.recipe import Recipe


def test_the_defaults() -> None:
    recipe = Recipe()
    assert (recipe.lr, recipe.betas, recipe.schedule) == (0.002, (0.5, 0.999), "cosine")


def test_the_paper_s_recipe_is_one_of_them() -> None:
    recipe = Recipe(epochs=500, batch_size=1, schedule="constant")
    assert {recipe.lr_at(step, 1000) for step in range(1000)} == {0.002}


@given(st.integers(1, 500), st.floats(1e-5, 1.0))
def test_a_cosine_starts_at_lr_and_never_rises(steps: int, lr: float) -> None:
    recipe = Recipe(lr=lr)
    rates = [recipe.lr_at(step, steps) for step in range(steps)]
    assert rates[0] == lr
    assert all(after < before for before, after in pairwise(rates))
    assert rates[-1] > 0


@given(st.integers(2, 500))
def test_a_cosine_is_at_half_in_the_middle_and_symmetric_about_it(half: int) -> None:
    recipe, steps = Recipe(lr=2.0), 2 * half
    assert recipe.lr_at(half, steps) == pytest.approx(1.0)
    # A straight line would pass the middle too; a cosine leaves the start more slowly.
    assert recipe.lr_at(half // 2, steps) > 2.0 * (1 - (half // 2) / steps)
    assert recipe.lr_at(1, steps) + recipe.lr_at(steps - 1, steps) == pytest.approx(2.0)


def test_a_cosine_is_near_zero_at_the_end() -> None:
    recipe = Recipe(lr=0.002)
    assert recipe.lr_at(999, 1000) < 0.002 * 1e-5
    assert recipe.lr_at(1, 3) == pytest.approx(0.002 * (1 + math.cos(math.pi / 3)) / 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", -0.1),
        ("betas", (0.5, 1.0)),
        ("betas", (-0.1, 0.9)),
        ("betas", (0.5,)),
        ("schedule", "linear"),
        ("ephocs", 3),
    ],
)
def test_a_setting_out_of_range_is_named(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as error:
        Recipe(**{key: value})
    assert {problem["loc"][0] for problem in error.value.errors()} == {key}
