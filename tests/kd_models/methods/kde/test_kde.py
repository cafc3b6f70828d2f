"""Kernel density against scikit-learn's and against its formula, written again in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KernelDensity
from torch import Tensor

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.methods.base import CannotTrain, PackContext
from kd_models.methods.kde.density import (
    BANDWIDTHS,
    bandwidth_of,
    cross_validated,
    log_constant,
    log_kernels,
    scott,
)
from kd_models.methods.kde.settings import KdeSettings
from kd_models.methods.kde.step import Bandwidth, Density, KdeDetector, KdeStep
from kd_models.methods.kernels import PrincipalCoordinates, Space, padded, squared_distances
from kd_models.world import World
from kd_score.detector import run, session


def images(count: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")


def pooled(x: Tensor, side: int = 8) -> NDArray[np.float64]:
    parts = x.reshape(len(x), 1, side, 32 // side, side, 32 // side).mean((3, 5))
    return parts.flatten(1).double().numpy()


def fitted(bandwidth: Bandwidth, space: Space | None = None, memory: int = 40) -> Density:
    network = Density(1, space or Space(), memory, bandwidth)
    network.fit(images(40))
    return network


def test_the_density_by_hand() -> None:
    # In one dimension, kernels of deviation 2 at 0 and 4, seen from 0.
    found = log_kernels(torch.tensor([[0.0, 16.0]]), 2.0) - log_constant(2, 1, 2.0)
    expected = (1 + math.exp(-2)) / (2 * 2 * math.sqrt(2 * math.pi))
    assert found.exp().item() == pytest.approx(expected)


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.05, 1.0, 30.0]))
def test_the_density_is_scikit_learns(seed: int, bandwidth: float) -> None:
    rows, known = np.random.default_rng(seed).normal(size=(2, 6, 3))
    squared = squared_distances(torch.from_numpy(rows), torch.from_numpy(known))
    found = log_kernels(squared, bandwidth) - log_constant(6, 3, bandwidth)
    expected = KernelDensity(bandwidth=bandwidth).fit(known).score_samples(rows)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("components", [32, None])
@pytest.mark.parametrize("asked", ["cv", "scott", 0.7])
def test_the_score_is_scikit_learns(asked: Bandwidth, components: int | None) -> None:
    network = fitted(asked, Space(components=components))
    known, rows = pooled(images(40)), pooled(images(9, seed=1))
    if components is not None:
        pca = PCA(0.95, svd_solver="full").fit(known)
        known, rows = pca.transform(known), pca.transform(rows)
        assert known.shape[1] < components  # the others are zero
    bandwidth = {"cv": network.bandwidth.item(), "scott": scott(torch.from_numpy(known))}
    kde = KernelDensity(bandwidth=bandwidth.get(str(asked), 0.7)).fit(known)
    found = network(images(9, seed=1)).numpy()
    np.testing.assert_allclose(found, -kde.score_samples(rows), rtol=1e-4, atol=1e-4)


def test_scott_s_bandwidth_by_hand() -> None:
    # Variances 2 and 0 (of two images, without bias), so a mean of 1, and 2^(-1 / 6).
    assert scott(torch.tensor([[0.0, 5.0], [2.0, 5.0]])) == pytest.approx(2 ** (-1 / 6))
    assert bandwidth_of(torch.tensor([[0.0], [2.0]]), "scott") == pytest.approx(
        math.sqrt(2) * 2 ** (-1 / 5)
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_bandwidth_is_the_one_that_scikit_learn_finds(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(43, 2 + seed)) * (seed + 0.3)
    search = GridSearchCV(
        KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=PredefinedSplit(np.arange(43) % 5)
    )
    # scikit-learn sums over the images of a part and takes the mean over parts.
    expected = search.fit(rows).best_params_["bandwidth"]
    assert cross_validated(torch.from_numpy(rows), BANDWIDTHS) == expected


def test_those_that_are_tried() -> None:
    assert len(BANDWIDTHS) == 20
    assert (BANDWIDTHS[0], BANDWIDTHS[1], BANDWIDTHS[-1]) == (2**-4.5, 2**-4, 32)


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_components_are_scikit_learns(share: float) -> None:
    known, rows = pooled(images(40)), pooled(images(9, seed=1))
    network = PrincipalCoordinates(64, 64)
    kept = network.fit(torch.from_numpy(known), share)
    pca = PCA(share if share < 1 else None, svd_solver="full").fit(known)
    expected = pca.transform(rows)
    found = network(torch.from_numpy(rows).float())
    if share < 1:
        assert kept.shape == (40, pca.n_components_)
    assert not found[:, kept.shape[1] :].any()
    # Up to their signs.
    size = kept.shape[1]
    np.testing.assert_allclose(found.abs()[:, :size], abs(expected[:, :size]), atol=1e-5)


def test_where_the_components_are_too_few_they_keep_what_they_can() -> None:
    network = PrincipalCoordinates(64, 2)
    assert network.fit(torch.from_numpy(pooled(images(40))), 0.95).shape == (40, 2)


def test_what_is_padded() -> None:
    rows = torch.tensor([[1.0, 2.0]])
    assert padded(rows, torch.empty(2, 3)).tolist() == [[1, 2, 0], [0, 0, 0]]


def test_of_many_images_some_are_kept_from_the_first_to_the_last() -> None:
    network = fitted(0.5, memory=4)
    expected = network.rows(images(40)[[0, 13, 26, 39]])
    torch.testing.assert_close(network.memory_MK.detach(), expected, rtol=0, atol=1e-5)


def test_an_image_far_from_all_is_scored_without_pytorch_too() -> None:
    network = fitted(0.05)
    # Sums of kernels would be 0 here, their logarithm infinite.
    far = images(4, seed=1).sign()
    found = network(far).numpy()
    assert (np.exp(-found) == 0).all()
    model = to_onnx(program_of(network.eval(), channels=1, image_size=32))
    np.testing.assert_allclose(run(session(model), ((far + 1) * 127.5).numpy()), found, rtol=1e-4)


def test_what_is_far_from_the_training_images_scores_higher() -> None:
    learner = KdeStep(fitted=detector("scott")).learner(0, PackContext())
    learner.fit(0.2 * images(40), World())
    near = learner.score(0.2 * images(40) + 0.01, World())
    assert learner.score(images(40, seed=1).sign(), World()).min() > near.max()


def detector(bandwidth: Bandwidth, memory: int = 40) -> KdeDetector:
    return KdeDetector(colours=1, space=Space(), memory=memory, bandwidth=bandwidth)


def test_no_seed_changes_it() -> None:
    step = KdeStep(fitted=detector("cv"))
    assert {step.seed_of(seed) for seed in range(5)} == {0}
    one, other = (step.learner(seed, PackContext()) for seed in (0, 1))
    for learner in (one, other):
        learner.fit(images(40), World())
    for name, tensor in one.trained["detector"].state_dict().items():
        assert torch.equal(other.trained["detector"].state_dict()[name], tensor)


def test_images_that_are_all_alike_or_too_few_are_refused() -> None:
    with pytest.raises(CannotTrain, match="alike"):
        Density(1, Space(), 9, "scott").fit(images(1).expand(9, -1, -1, -1))
    with pytest.raises(CannotTrain, match="4 images cannot be divided into 5 parts"):
        Density(1, Space(), 9, "cv").fit(images(4))
    for memory, kept in ((1, images(9)), (2, images(9)[[0, *range(8), 0]])):
        with pytest.raises(CannotTrain, match=rf"the {memory} images that are kept are all alike"):
            Density(1, Space(), memory, "scott").fit(kept)


def test_what_it_costs() -> None:
    # Pooling counts 1,024 as fvcore counts it. Pixels' mean, components, memory, two numbers.
    found = complexity(detector("cv", memory=2000).scorer(), torch.zeros(1, 1, 32, 32))
    assert found.params == 64 + 64 * 32 + 2000 * 32 + 2
    assert found.flops == 1024 + 64 * 32 + 2000 * 32
    pixels = KdeDetector(colours=3, space=Space(components=None), memory=9, bandwidth=1.0)
    found = complexity(pixels.scorer(), torch.zeros(1, 3, 32, 32))
    assert (found.params, found.flops) == (9 * 192 + 2, 3 * 1024 + 9 * 192)


def test_detectors_that_cost_the_same_are_measured_once() -> None:
    assert detector("cv").cost_group == detector(0.5).cost_group
    assert detector("cv").cost_group != detector("cv", memory=9).cost_group


@pytest.mark.parametrize(("count", "memory"), [(30, 30), (None, 2000), (6000, 2000)])
def test_a_variant_for_each_bandwidth(count: int | None, memory: int) -> None:
    settings = KdeSettings.model_validate({"bandwidth": (0.5, "cv")})
    variants = list(settings.variants(dataset_row("mnist"), count, None))
    assert [variant.axes for variant in variants] == [{"bandwidth": 0.5}, {"bandwidth": "cv"}]
    step, recipe = variants[0].steps[0]
    assert recipe is None
    assert step.name == "kde 0.5"
    assert step.detector == detector(0.5, memory)


def test_recipes_by_name() -> None:
    assert KdeSettings.model_validate({}).bandwidth == ("scott",)
    paper = KdeSettings.model_validate({"recipe": "paper", "memory": 100})
    assert (paper.space.side, paper.memory, paper.bandwidth) == (32, 100, ("cv",))
