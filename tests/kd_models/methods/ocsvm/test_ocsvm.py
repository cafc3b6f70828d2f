"""One-class SVM against scikit-learn's and against the paper's conditions."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.svm import OneClassSVM
from torch import Tensor

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.methods.base import CannotTrain, PackContext
from kd_models.methods.kernels import Space
from kd_models.methods.ocsvm.settings import OcsvmSettings
from kd_models.methods.ocsvm.step import Boundary, Gamma, OcsvmDetector, OcsvmStep
from kd_models.world import World
from kd_score.detector import run, session


def images(count: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")


def pooled(x: Tensor, side: int = 8) -> NDArray[np.float64]:
    parts = x.reshape(len(x), 1, side, 32 // side, side, 32 // side).mean((3, 5))
    return parts.flatten(1).double().numpy()


def fitted(
    nu: float = 0.1,
    gamma: Gamma = "scale",
    components: int | None = 32,
    memory: int = 60,
    vectors: int = 60,
) -> Boundary:
    network = Boundary(1, Space(components=components), memory, vectors, nu, gamma)
    network.fit(images(60))
    return network


def test_the_score_by_hand() -> None:
    network = Boundary(1, Space(side=1, components=None), 2, 2, 0.5, 0.25)
    network.vectors_VK.copy_(torch.tensor([[0.5], [-0.5]]))
    network.coefficients_1V.copy_(torch.tensor([[0.75, 0.25]]))
    network.offset.fill_(0.9)
    network.gamma.fill_(0.25)
    # An image of 0.5 everywhere is on the first vector and 1 from the second.
    found = network(torch.full((1, 1, 32, 32), 0.5)).item()
    assert found == pytest.approx(0.9 - 0.75 - 0.25 * math.exp(-0.25))


@pytest.mark.parametrize("components", [32, None])
@pytest.mark.parametrize("nu", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("gamma", ["scale", 0.5])
def test_the_score_is_scikit_learns(nu: float, gamma: Gamma, components: int | None) -> None:
    network = fitted(nu, gamma, components)
    known, rows = pooled(images(60)), pooled(images(20, seed=1))
    if components is not None:
        pca = PCA(0.95, svd_solver="full").fit(known)
        known, rows = pca.transform(known), pca.transform(rows)
    if gamma == "scale":
        # Ours is of the pixels' variances, scikit-learn's of all numbers as if of one pixel.
        assert network.gamma.item() == pytest.approx(1 / known.var(0).sum())
        gamma = network.gamma.item()
    svm = OneClassSVM(nu=nu, gamma=gamma).fit(known)
    # libsvm's is nu N times the paper's.
    expected = -svm.decision_function(rows) / (nu * 60)
    np.testing.assert_allclose(network(images(20, seed=1)).numpy(), expected, atol=1e-4, rtol=0)


def test_of_components_the_gamma_is_scikit_learns() -> None:
    rows = PCA(0.95, svd_solver="full").fit_transform(pooled(images(60)))
    svm, x = OneClassSVM(nu=0.1, gamma="scale").fit(rows), images(60)
    found = fitted()(x).detach().numpy()
    np.testing.assert_allclose(found, -svm.decision_function(rows) / 6, atol=1e-4, rtol=0)


@pytest.mark.parametrize("nu", [0.05, 0.2, 0.5])
def test_what_the_paper_proves_of_nu(nu: float) -> None:
    # Eq. 3.11: coefficients from 0 to 1 / (nu N), of sum 1. Proposition 3: at most a share
    # nu of the images is outside, at least so many are support vectors.
    network = fitted(nu)
    coefficients = network.coefficients_1V
    assert coefficients.sum().item() == pytest.approx(1)
    assert coefficients.min() >= 0
    assert coefficients.max().item() <= 1 / (nu * 60) + 1e-6
    assert int((network(images(60)) > 1e-3).sum()) <= nu * 60
    assert int((coefficients > 0).sum()) >= nu * 60


def test_room_that_is_not_needed_changes_nothing() -> None:
    needed = int((fitted().coefficients_1V > 0).sum())
    x = images(20, seed=1)
    assert needed < 50
    torch.testing.assert_close(fitted(vectors=needed)(x), fitted(vectors=50)(x))
    assert not fitted(vectors=50).vectors_VK[needed:].any()


def test_where_support_vectors_are_too_many_it_is_fitted_to_fewer_images() -> None:
    # So narrow a kernel makes nearly every image one.
    assert int((fitted(gamma=50.0).coefficients_1V > 0).sum()) > 50
    network = fitted(gamma=50.0, vectors=20)
    found = int((network.coefficients_1V > 0).sum())
    assert 15 <= found <= 20
    same = [
        fitted(gamma=50.0, memory=memory, vectors=20)(images(9, seed=1)) for memory in (found, 60)
    ]
    torch.testing.assert_close(*same)


def test_one_vector_is_room_enough() -> None:
    network = fitted(gamma=50.0, vectors=1)
    assert network.coefficients_1V.tolist() == [[1]]


def test_it_scores_alike_without_pytorch() -> None:
    network, x = fitted(), images(9, seed=1)
    model = to_onnx(program_of(network.eval(), channels=1, image_size=32))
    found = run(session(model), ((x + 1) * 127.5).numpy())
    np.testing.assert_allclose(found, network(x).numpy(), atol=1e-5)


def detector(memory: int = 60, nu: float = 0.1) -> OcsvmDetector:
    return OcsvmDetector(colours=1, space=Space(), memory=memory, nu=nu, gamma="scale", margin=64)


def test_what_is_far_from_the_training_images_scores_higher() -> None:
    learner = OcsvmStep(fitted=detector()).learner(0, PackContext())
    learner.fit(0.2 * images(40), World())
    near = learner.score(0.2 * images(40) + 0.01, World())
    assert learner.score(images(40, seed=1).sign(), World()).min() > near.max()


def test_no_seed_changes_it() -> None:
    step = OcsvmStep(fitted=detector())
    assert {step.seed_of(seed) for seed in range(5)} == {0}
    one, other = (step.learner(seed, PackContext()) for seed in (0, 1))
    for learner in (one, other):
        learner.fit(images(60), World())
    for name, tensor in one.trained["detector"].state_dict().items():
        assert torch.equal(other.trained["detector"].state_dict()[name], tensor)


def test_images_that_are_all_alike_are_refused() -> None:
    with pytest.raises(CannotTrain, match="alike"):
        Boundary(1, Space(), 9, 9, 0.1, "scale").fit(images(1).expand(9, -1, -1, -1))


@pytest.mark.parametrize(
    ("memory", "nu", "vectors"), [(2000, 0.1, 264), (2000, 0.01, 84), (60, 0.1, 60), (99, 0.5, 99)]
)
def test_there_is_room_for_those_outside_and_some_on_the_boundary(
    memory: int, nu: float, vectors: int
) -> None:
    assert detector(memory, nu).vectors == vectors


def test_what_it_costs() -> None:
    # Pooling counts 1,024 as fvcore counts it. Pixels' mean, components, vectors with their
    # coefficients, offset and gamma.
    found = complexity(detector(2000).scorer(), torch.zeros(1, 1, 32, 32))
    assert found.params == 64 + 64 * 32 + 264 * (32 + 1) + 2
    assert found.flops == 1024 + 64 * 32 + 264 * (32 + 1)


@pytest.mark.parametrize(("count", "memory"), [(30, 30), (None, 2000), (6000, 2000)])
def test_a_variant_for_each_nu(count: int | None, memory: int) -> None:
    settings = OcsvmSettings.model_validate({"nu": (0.1, 0.5)})
    variants = list(settings.variants(dataset_row("mnist"), count, None))
    assert [variant.axes for variant in variants] == [{"nu": 0.1}, {"nu": 0.5}]
    step, recipe = variants[0].steps[0]
    assert recipe is None
    assert step.name == "ocsvm 0.1"
    assert step.detector == detector(memory)


def test_recipes_by_name() -> None:
    assert OcsvmSettings.model_validate({}).gamma == "scale"
    paper = OcsvmSettings.model_validate({"recipe": "paper", "nu": (0.5,)})
    assert (paper.space.components, paper.gamma, paper.nu) == (None, 1 / 128, (0.5,))
