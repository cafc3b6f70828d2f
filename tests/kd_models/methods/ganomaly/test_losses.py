import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kd_models.methods.ganomaly.losses import (
    Distance,
    distance,
    gan_terms,
    per_image_distance,
)
from kd_models.methods.ganomaly.networks import Reconstruction


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    assert all(term.shape == () for term in terms.values())
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize(
    ("kind", "each", "mean"), [("mse", [12.5, 0.5], 6.5), ("l2", [5.0, 1.0], 3.0)]
)
def test_a_distance_by_hand(kind: Distance, each: list[float], mean: float) -> None:
    a, b = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    assert per_image_distance(a, b, kind).tolist() == each
    assert distance(a, b, kind).item() == mean


@pytest.mark.parametrize(("kind", "each"), [("mse", 4.0), ("l2", 4.0 * math.sqrt(3))])
def test_a_distance_is_over_all_that_follows_the_batch(kind: Distance, each: float) -> None:
    a = torch.zeros(2, 3, 2, 2)
    assert per_image_distance(a, a + 2, kind).tolist() == pytest.approx([each, each])


def test_the_norm_of_equal_images_has_a_gradient() -> None:
    a = torch.ones(1, 4, requires_grad=True)
    distance(a, torch.ones(1, 4), "l2").backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0.0] * 4]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31))
def test_mse_is_the_squared_norm_over_its_size(rows: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, size, generator=generator) for _ in range(2))
    norm = per_image_distance(a, b, "l2")
    torch.testing.assert_close(per_image_distance(a, b, "mse"), norm**2 / size)
    torch.testing.assert_close(per_image_distance(b, a, "l2"), norm)


def reconstruction(z1: float, x_hat: float, z2: float) -> Reconstruction:
    """Latents of size 4 and 2 x 2 images, each of one value, for a batch of two."""
    return Reconstruction(
        torch.full((2, 4), z1), torch.full((2, 1, 2, 2), x_hat), torch.full((2, 4), z2)
    )


@pytest.mark.parametrize(
    ("kind", "enc", "adv"), [("mse", 9.0, 0.25), ("l2", 6.0, 0.5 * math.sqrt(8))]
)
def test_the_generator_s_terms_by_hand(kind: Distance, enc: float, adv: float) -> None:
    made = reconstruction(z1=1.0, x_hat=-0.5, z2=4.0)
    features = torch.zeros(2, 2, 2, 2)
    terms = gan_terms(torch.full((2, 1, 2, 2), 0.25), made, features, features + 0.5, kind)
    # con is an L1 distance however "l2" the others are: 0.5625 if it were squared.
    assert values(terms) == pytest.approx({"con": 0.75, "enc": enc, "adv": adv})
