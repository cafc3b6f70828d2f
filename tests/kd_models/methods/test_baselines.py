"""The baselines, against scikit-learn, NumPy and by hand; their costs."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import CannotTrain, Learner, PackContext
from kd_models.methods.knn.step import PixelNeighbours
from kd_models.methods.pca.step import PrincipalComponents
from kd_models.methods.registry import method_of, methods
from kd_models.world import World

BASELINES = [name for name, method in methods().items() if method.is_baseline]


def images(count: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")


def learner_of(name: str, dataset: str = "digits", count: int = 30, **settings: object) -> Learner:
    own = method_of(name).settings.model_validate(settings)
    (variant,) = own.variants(dataset_row(dataset), count, None)
    step, recipe = variant.steps[-1]
    assert (recipe, variant.image_size) == (None, 32)
    return step.learner(0, PackContext())


def test_there_are_four() -> None:
    assert BASELINES == ["hog", "knn", "pca", "pixel-gaussian"]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(("dataset", "channels"), [("digits", 1), ("cifar10", 3)])
def test_what_is_far_from_the_training_images_scores_higher(
    name: str, dataset: str, channels: int
) -> None:
    learner = learner_of(name, dataset)
    faint = 0.2 * images(30, channels)
    learner.fit(faint, World())
    near = learner.score(faint + 0.01, World())
    far = learner.score(images(30, channels, seed=1).sign(), World())
    assert near.shape == (30,)
    assert far.min() > near.max()


@pytest.mark.parametrize("name", BASELINES)
def test_no_seed_changes_it(name: str) -> None:
    own = method_of(name).settings()
    (variant,) = own.variants(dataset_row("digits"), 30, None)
    step, _ = variant.steps[-1]
    assert {step.seed_of(seed) for seed in range(5)} == {0}
    one, other = (step.learner(seed, PackContext()) for seed in (0, 1))
    for learner in (one, other):
        learner.fit(images(30), World())
    assert torch.equal(
        one.score(images(9, seed=1), World()), other.score(images(9, seed=1), World())
    )


def pooled(x: torch.Tensor, side: int) -> np.ndarray:
    step = 32 // side
    parts = x.reshape(len(x), x.shape[1], side, step, side, step).mean((3, 5))
    return parts.flatten(1).double().numpy()


def test_neighbours_are_scikit_learns() -> None:
    network = PixelNeighbours(1, 8, memory=30, neighbours=5)
    network.fit(images(30))
    known = NearestNeighbors(n_neighbors=5).fit(pooled(images(30), 8))
    expected = known.kneighbors(pooled(images(10, seed=1), 8))[0].mean(1)
    np.testing.assert_allclose(network(images(10, seed=1)).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("count", "memory", "neighbours"), [(30, 30, 5), (3, 3, 3), (None, 2000, 5)]
)
def test_the_memory_is_as_large_as_there_are_images(
    count: int | None, memory: int, neighbours: int
) -> None:
    own = method_of("knn").settings()
    (variant,) = own.variants(dataset_row("digits"), count, None)
    detector = variant.steps[-1][0].detector
    assert (detector.memory, detector.neighbours) == (memory, neighbours)  # type: ignore[attr-defined]


def test_of_many_images_some_are_kept_from_the_first_to_the_last() -> None:
    network = PixelNeighbours(1, 8, memory=4, neighbours=1)
    many = images(10)
    network.fit(many)
    # Every third, so that classes in order are all there.
    assert torch.equal(network.neighbours.memory_MF, network.pool(many[[0, 3, 6, 9]]))


def test_the_distance_from_the_components_is_scikit_learns() -> None:
    network = PrincipalComponents(1, 8, components=4)
    network.fit(images(30))
    pca = PCA(4).fit(pooled(images(30), 8))
    other = pooled(images(10, seed=1), 8)
    expected = np.linalg.norm(other - pca.inverse_transform(pca.transform(other)), axis=1)
    np.testing.assert_allclose(network(images(10, seed=1)).numpy(), expected, rtol=1e-4)


def test_of_fewer_images_there_are_fewer_components() -> None:
    network = PrincipalComponents(1, 8, components=16)
    network.fit(images(5))
    assert int((network.components_FK.norm(dim=0) > 0.5).sum()) == 4
    np.testing.assert_allclose(network(images(5)).numpy(), 0, atol=0.01)


@pytest.mark.parametrize("name", ["hog", "pca", "pixel-gaussian"])
def test_images_that_are_all_alike_are_refused(name: str) -> None:
    with pytest.raises(CannotTrain):
        learner_of(name).fit(images(1).expand(9, -1, -1, -1), World())


@pytest.mark.parametrize(
    ("name", "params", "flops"),
    [
        # Pooling counts 1,024 as fvcore counts it.
        ("hog", 130 * 256 + 129 + 64 * 129, 4_096 + 128 * 256 + 64 * 129),
        ("knn", 2000 * 64, 1024 + 2000 * 64),
        ("pca", 256 + 256 * 16, 1024 + 256 * 16),
        ("pixel-gaussian", 64 + 64 + 64 * 64, 1024 + 64 * 64),
    ],
)
def test_what_they_cost_for_a_grey_image(name: str, params: int, flops: int) -> None:
    network = learner_of(name, "fmnist", count=6000).scorer()
    found = complexity(network, torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)
