"""Prototypes: the centres of clusters of normal images' features."""

import warnings

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_models.methods.neighbours import Neighbours
from kd_models.methods.prototypes import Prototypes, PrototypeSettings, cluster_centres


def rows(count: int = 200, size: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    middles = 10 * torch.randn(4, size, generator=generator)
    noise = torch.randn(count, size, generator=generator)
    return middles[torch.arange(count) % 4] + 0.1 * noise


def test_centres_are_the_means_of_clusters() -> None:
    expected = torch.stack([rows()[place::4].mean(0) for place in range(4)])
    found = cluster_centres(rows(), 4)
    assert found.dtype == torch.float32
    order = torch.cdist(expected, found).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(found[order], expected, rtol=1e-4, atol=1e-4)


def test_they_are_the_same_each_time() -> None:
    noise = torch.randn(5000, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(cluster_centres(noise, 32), cluster_centres(noise, 32))


def test_of_few_images_each_is_a_prototype() -> None:
    few = rows(3)
    network = Prototypes((6,), PrototypeSettings(prototypes=64))
    network.fit(few)
    np.testing.assert_allclose(network(few), 0, atol=1e-2)


def test_images_that_are_alike_are_no_matter() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cluster_centres(rows(2).repeat(20, 1), 4)
    assert torch.isfinite(found).all()
    assert torch.cdist(rows(2), found).min(1).values.max() < 1e-3


def test_of_other_directions_only_how_far_counts() -> None:
    network = Prototypes((6,), PrototypeSettings(components=3, prototypes=4, shrinkage=1e-4))
    network.fit(rows())
    assert network.whitening.directions.shape == (6, 3)
    directions = torch.linalg.svd(rows().double() - rows().double().mean(0)).Vh.float()
    away = [network(rows() + 5 * directions[place]) for place in (3, 4, 5)]
    torch.testing.assert_close(away[0].mean(), away[1].mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(away[0].mean(), away[2].mean(), rtol=0.02, atol=0)
    assert away[0].min() > 2 * network(rows()).max()


@given(count=st.integers(2, 12), components=st.integers(11, 40), seed=st.integers(0, 99))
def test_of_few_images_no_direction_is_lost(count: int, components: int, seed: int) -> None:
    """Directions in which no image varies are alike, so that no choice among them may matter."""
    generator = torch.Generator().manual_seed(seed)
    known, other = torch.randn(2, 12, 40, generator=generator)
    some, all_of_them = (
        Prototypes((30, 10), PrototypeSettings(components=kept)) for kept in (components, 40)
    )
    for network in (some, all_of_them):
        network.fit(known[:count])
    torch.testing.assert_close(some(other), all_of_them(other), rtol=1e-3, atol=1e-3)


def test_no_more_components_than_features() -> None:
    assert Prototypes((2, 3), PrototypeSettings()).whitening.directions.shape == (5, 5)


def test_of_few_images_there_are_few() -> None:
    assert PrototypeSettings().of(3) == PrototypeSettings(prototypes=3)
    assert PrototypeSettings().of(None) == PrototypeSettings().of(6000) == PrototypeSettings()


def test_what_is_remembered_is_at_no_distance_from_itself() -> None:
    """Nothing is lost to rounding, however far from the origin it all lies."""
    rows = 100 + torch.randn(50, 128, generator=torch.Generator().manual_seed(0))
    network = Neighbours(128, 50, neighbours=1)
    network.fit(rows)
    assert network(rows).tolist() == [0] * 50
    np.testing.assert_allclose(network(rows + 1e-3).numpy(), 1e-3 * 128**0.5, rtol=1e-2)
