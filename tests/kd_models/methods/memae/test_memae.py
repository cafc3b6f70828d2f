"""MemAE against its paper's formulas, written again in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from lanes import assert_lanes_are_as_alone, images
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import Published
from kd_models.methods.errors import squared_error
from kd_models.methods.memae import METHOD
from kd_models.methods.memae.losses import entropy
from kd_models.methods.memae.memory import Memory, addressed
from kd_models.methods.memae.settings import MemaeSettings
from kd_models.methods.memae.step import Memae, MemaeLearner, MemaeStep
from kd_models.methods.networks import WIDE, ConvNetworks, Widths
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe

Numbers = NDArray[Any]


def step(shrinkage: float = 1.0, entropy_weight: float = 0.0002) -> MemaeStep:
    networks = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)
    return MemaeStep(
        networks=networks, memory=5, shrinkage=shrinkage, entropy_weight=entropy_weight
    )


def network(learner: MemaeLearner) -> Memae:
    (memae,) = learner.trained.values()
    assert isinstance(memae, Memae)
    return memae


def read_by_the_paper(z: Numbers, items: Numbers, threshold: float) -> tuple[Numbers, Numbers]:
    """Eq. 3 to 7, one image and one item after another."""
    read, weights = [], []
    for query in z:
        cosines = np.array(
            [query @ item / np.linalg.norm(query) / np.linalg.norm(item) for item in items]
        )
        w = np.exp(cosines) / np.exp(cosines).sum()
        w = np.maximum(w - threshold, 0) * w / (np.abs(w - threshold) + 1e-12)
        weights.append(w / max(np.abs(w).sum(), 1e-12))
        read.append(sum(part * item for part, item in zip(weights[-1], items, strict=True)))
    return np.array(read), np.array(weights)


def test_weights_by_hand() -> None:
    # Of these the softmax is 0.1, 0.2, 0.3 and 0.4.
    likeness = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    for threshold, expected in (
        (0.0, [0.1, 0.2, 0.3, 0.4]),
        (0.25, [0, 0, 3 / 7, 4 / 7]),
        (0.35, [0, 0, 0, 1]),
        (0.45, [0, 0, 0, 0]),
    ):
        assert addressed(likeness, threshold)[0].tolist() == pytest.approx(expected)


def addressed_by_the_paper(likeness: Tensor, threshold: float) -> Tensor:
    """Eq. 4 and 7, and the L1 norm made 1, each as it stands there."""
    w = likeness.softmax(1)
    w = (w - threshold).relu() * w / ((w - threshold).abs() + 1e-12)
    return functional.normalize(w, p=1, dim=1)


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_slopes_are_the_paper_s_away_from_the_threshold(seed: int, shrinkage: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    likeness, towards = torch.rand(2, 4, 7, generator=generator, dtype=torch.float64) * 2 - 1
    # Closer to it Eq. 7 has slopes of its own, of the step that Eq. 6 has there.
    assume((likeness.softmax(1) - shrinkage / 7).abs().min() > 1e-3)
    slopes = []
    for weigh in (addressed, addressed_by_the_paper):
        at = likeness.clone().requires_grad_()
        (weigh(at, shrinkage / 7) * towards).sum().backward()
        assert at.grad is not None
        slopes.append(at.grad)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_items_that_are_not_read_stay_exactly_where_they_are() -> None:
    memory = Memory(items=50, size=8, shrinkage=1.0)
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    read, weights = memory(z)
    (read.square().sum() * 100 + entropy(weights).sum()).backward()
    unread = weights[0] == 0
    assert 10 < unread.sum() < 40
    assert memory.items_NZ.grad is not None
    assert not memory.items_NZ.grad[unread].any()
    assert memory.items_NZ.grad[~unread].any(1).all()


def test_what_is_read_by_hand() -> None:
    memory = Memory(items=2, size=2, shrinkage=0.0)
    with torch.no_grad():
        memory.items_NZ.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        read, weights = memory(torch.tensor([[5.0, 0.0]]))
        # Cosines are 1 and 0, however long query and items are.
        first = np.e / (np.e + 1)
        assert weights[0].tolist() == pytest.approx([first, 1 - first])
        assert read[0].tolist() == pytest.approx([2 * first, 3 * (1 - first)])
        # With the threshold at the mean only the more alike is left.
        memory = Memory(items=2, size=2, shrinkage=1.0)
        memory.items_NZ.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        read, weights = memory(torch.tensor([[5.0, 0.0]]))
        assert weights[0].tolist() == pytest.approx([1, 0])
        assert read[0].tolist() == pytest.approx([2, 0])


@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_the_memory_is_the_paper_s(seed: int, shrinkage: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    memory = Memory(items=7, size=3, shrinkage=shrinkage).double()
    with torch.no_grad():
        memory.items_NZ.copy_(torch.randn(7, 3, generator=generator))
        z = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        likeness = functional.cosine_similarity(z[:, None], memory.items_NZ, dim=2)
        # Closer to it the 1e-12 of Eq. 7 is more than rounding.
        assume((likeness.softmax(1) - shrinkage / 7).abs().min() > 1e-5)
        read, weights = memory(z)
        expected = read_by_the_paper(z.numpy(), memory.items_NZ.numpy(), shrinkage / 7)
    np.testing.assert_allclose(read, expected[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weights, expected[1], rtol=1e-6, atol=1e-9)


def test_a_memory_of_which_nothing_is_read_has_finite_gradients() -> None:
    # Of items that are equally like the query none has a weight above the mean.
    memory = Memory(items=4, size=3, shrinkage=1.0)
    with torch.no_grad():
        memory.items_NZ.fill_(1.0)
    z = torch.zeros(2, 3, requires_grad=True)
    read, weights = memory(z)
    assert not weights.any()
    (read.square().sum() + entropy(weights).sum()).backward()
    for tensor in (z, memory.items_NZ):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_entropy_by_hand() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25] * 4])
    expected = [0, np.log(2), np.log(4)]
    assert entropy(weights).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_loss_weighs_reconstruction_and_entropy_and_the_score_is_the_former() -> None:
    learner = MemaeLearner(step(entropy_weight=0.25), seed=0)
    memae = network(learner).eval()
    x = images(4)
    with torch.no_grad():
        z = memae.encoder(x)[0].numpy()
        read, weights = read_by_the_paper(z, memae.memory.items_NZ.numpy(), 1 / 5)
        x_hat = memae.decoder(torch.tensor(read, dtype=torch.float32))
        errors = ((x - x_hat).numpy() ** 2).sum((1, 2, 3))
        of_weights = -np.array([sum(w * np.log(w) for w in row if w > 0) for row in weights])
        (objective,) = learner.objectives()
        terms, _ = objective({"x": x})
        assert terms["rec"].item() == pytest.approx(errors.mean(), rel=1e-5)
        assert terms["entropy"].item() == pytest.approx(of_weights.mean(), rel=1e-4)
        assert terms[LOSS].item() == pytest.approx(
            errors.mean() + 0.25 * of_weights.mean(), rel=1e-5
        )
        np.testing.assert_allclose(learner.scorer()(x), errors, rtol=1e-5)
        torch.testing.assert_close(
            squared_error(x, x_hat), torch.tensor(errors), rtol=1e-5, atol=1e-5
        )


def test_the_memory_learns_too() -> None:
    learner = MemaeLearner(step(), seed=0)
    (objective,) = learner.objectives()
    objective({"x": images(8)})[0][LOSS].backward()
    for name, parameter in network(learner).named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of both, the layers of Z, and 100 items.
        (WIDE, 2 * (656_384 + 896) + 16 * 256 * (64 + 64) + 100 * 64, 34_730_496),
        ((1, 2, 4), 2 * (176 + 14) + 16 * 4 * (64 + 64) + 100 * 64, 39_168),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    networks = ConvNetworks(channels=1, widths=widths, latent=64)
    ((made, _),) = MemaeSettings().chain(networks)
    found = complexity(made.detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)


RECIPE = Recipe(epochs=2, batch_size=4, lr=0.001)


def test_lanes_of_several_weights_train_as_alone() -> None:
    steps = [step(entropy_weight=weight) for weight in (0.0002, 0.0, 10.0)]
    assert len({one.lane_group for one in steps}) == 1
    assert_lanes_are_as_alone(
        lambda place: MemaeLearner(steps[place], place), rtol=1e-4, atol=1e-6, terms_rtol=1e-5
    )


def test_recipes_by_name() -> None:
    recommended = MemaeSettings.model_validate({})
    assert (recommended.memory, recommended.training.lr) == (100, 0.001)
    paper = MemaeSettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.training.epochs, paper.training.lr) == (3, 0.0001)
    for dataset, memory in (("mnist", 100), ("cifar10", 500)):
        (variant,) = paper.variants(dataset_row(dataset), None, None)
        ((made, _),) = variant.steps
        assert isinstance(made, MemaeStep)
        assert made.memory == memory


def test_what_is_published_is_of_the_default_widths() -> None:
    (variant,) = MemaeSettings().variants(dataset_row("mnist"), None, None)
    published = METHOD.published_of("mnist", variant.axes)
    assert published == Published(0.8825, gmean=0.8145, fpr=0.1742, fnr=0.1949)
    assert METHOD.published_of("mnist", {"widths": [1, 2, 4]}) is None
