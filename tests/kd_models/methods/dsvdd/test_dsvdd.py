"""Deep SVDD against its paper's formulas, written again in NumPy."""

import io
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lanes import assert_lanes_are_as_alone, images
from torch import Tensor

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import CannotTrain, Learner, PackContext
from kd_models.methods.dsvdd import METHOD
from kd_models.methods.dsvdd.losses import best_radius, outside_boundary, weight_decay
from kd_models.methods.dsvdd.networks import (
    Contrast,
    ContrastNormalisation,
    Hypersphere,
    LenetNetworks,
    weights_of,
)
from kd_models.methods.dsvdd.settings import DsvddSettings
from kd_models.methods.dsvdd.step import AutoEncoderStep, DsvddStep, SvddStep
from kd_models.methods.errors import squared_error
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.training.state import TrainingState
from kd_models.world import World

NETWORKS = LenetNetworks(channels=1, widths=(1, 2, 4), latent=16, contrast="l1")
DECAY = 0.1
AUTO_ENCODER = AutoEncoderStep(networks=NETWORKS, weight_decay=DECAY)
ONE_CLASS = SvddStep(networks=NETWORKS, weight_decay=DECAY, objective="one-class", nu=None)
SOFT = SvddStep(networks=NETWORKS, weight_decay=DECAY, objective="soft-boundary", nu=0.3)
STEPS = pytest.mark.parametrize("step", [AUTO_ENCODER, ONE_CLASS, SOFT], ids=lambda s: s.name)
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.01)


def hypersphere(learner: Learner) -> Hypersphere:
    network = learner.trained["detector"]
    assert isinstance(network, Hypersphere)
    return network


def state(learner: Learner) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": tensor.detach().clone()
        for name, network in learner.trained.items()
        for key, tensor in network.state_dict().items()
    }


def eq_3(distances: np.ndarray, radius: float, nu: float) -> float:
    """The first two terms of Eq. 3, of a given R^2."""
    return float(radius + np.maximum(0, distances - radius).mean() / nu)


# Losses


def test_the_squared_distances_by_hand() -> None:
    codes, centre = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([1.0, 1.0])
    assert squared_error(codes, centre).tolist() == [1.0, 5.0]


def test_the_radius_and_what_is_outside_by_hand() -> None:
    distances = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0])
    # Of five a share of 0.4 is two: 3 is the smallest distance that no more exceed.
    assert best_radius(distances, 0.4).item() == 3
    # (1 + 2) / 5 / 0.4
    assert outside_boundary(distances, torch.tensor(3.0), 0.4).item() == pytest.approx(1.5)
    # Of 0.3 it is one image and half another.
    assert best_radius(distances, 0.3).item() == 4
    assert best_radius(distances, 0.1).item() == 5


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.floats(0.01, 0.99))
def test_no_other_radius_is_better(seed: int, count: int, nu: float) -> None:
    distances = np.random.default_rng(seed).exponential(size=count)
    found = best_radius(torch.from_numpy(distances), nu).item()
    # Piecewise linear: the minimum lies at one of the distances, or at 0.
    least = min(eq_3(distances, radius, nu) for radius in (0.0, *distances))
    assert eq_3(distances, found, nu) == pytest.approx(least)
    assert (distances > found).mean() <= nu


def test_the_weight_decay_by_hand() -> None:
    weights = [torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])]
    assert weight_decay(weights).item() == 7


@STEPS
def test_what_is_minimised_is_the_paper_s(step: DsvddStep) -> None:
    learner, x = step.learner(0, PackContext()), images(10)
    learner.prepare(x, World())
    (objective,) = learner.objectives()
    objective.eval()
    network = hypersphere(learner)
    with torch.no_grad():
        terms, made = objective({"x": x})
        codes, seen = network.codes(x).numpy(), network.contrast(x)
        weights = [w.numpy() for w in weights_of(*learner.trained.values())]
        if step == AUTO_ENCODER:
            decoded = learner.trained["decoder"](network.codes(x))
            expected = ((decoded - seen) ** 2).mean().item()
    distances = ((codes - network.centre.numpy()) ** 2).sum(1)
    if step == ONE_CLASS:
        expected = float(distances.mean())
    elif step == SOFT:
        expected = min(eq_3(distances, radius, 0.3) for radius in distances)
    decay = DECAY / 2 * sum(float((w**2).sum()) for w in weights)
    assert len(weights) == (8 if step == AUTO_ENCODER else 4)
    assert terms[LOSS].item() == pytest.approx(expected + decay, rel=1e-4)
    assert not made


def test_the_gradient_of_a_soft_boundary_is_the_minimum_s() -> None:
    # nu * B = 3.2: three distances count whole, the next largest a fifth, none beyond that.
    distances = torch.tensor([8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0], requires_grad=True)
    radius = best_radius(distances, 0.4)
    (radius + outside_boundary(distances, radius, 0.4)).backward()
    expected = np.array([1, 0, 1, 0, 1, 0, 0.2, 0]) / 3.2
    assert distances.grad is not None
    np.testing.assert_allclose(distances.grad.numpy(), expected, atol=1e-6)


# Networks


def test_contrast_is_normalised_as_in_the_paper() -> None:
    x = images(5, channels=3) * torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0]).view(5, 1, 1, 1)
    layer = ContrastNormalisation()
    layer.fit(x, World())
    found = layer(x).numpy()
    rows = x.numpy().reshape(5, -1).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.abs(rows).mean(1, keepdims=True)
    expected = (rows - rows.min()) / (rows.max() - rows.min())
    np.testing.assert_allclose(found.reshape(5, -1), expected, atol=1e-5)
    assert (found.min(), found.max()) == pytest.approx((0, 1), abs=1e-6)


@pytest.mark.parametrize("step", [AUTO_ENCODER, ONE_CLASS], ids=lambda s: s.name)
def test_images_without_contrast_cannot_be_trained_on(step: DsvddStep) -> None:
    flat = torch.tensor([-1.0, 0.3, 0.7]).view(3, 1, 1, 1).expand(3, 1, 32, 32)
    with pytest.raises(CannotTrain, match="one brightness"):
        step.learner(0, PackContext()).prepare(flat, World())


def test_without_normalisation_images_only_change_their_range() -> None:
    plain = NETWORKS.model_copy(update={"contrast": "none"})
    network = plain.hypersphere()
    assert torch.equal(network.contrast(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([0, 0.5, 1]))
    assert not list(network.contrast.parameters())


def test_a_component_of_the_centre_is_never_near_to_zero() -> None:
    network = NETWORKS.hypersphere()
    codes = torch.zeros(3, 16)
    codes[:, :4] = torch.tensor([[0.02, -0.02, 0.5, -3.0], [0.0, 0, 0.5, -3], [0.04, -0.04, 2, 0]])
    network.codes = lambda x: codes  # type: ignore[method-assign, assignment]
    network.fit_centre(images(3), World())
    expected = [0.1, -0.1, 1.0, -2.0] + 12 * [0.1]
    assert network.centre.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("widths", [(8, 4), (1, 2, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_decoder_makes_images_again(channels: int, widths: tuple[int, ...]) -> None:
    networks = LenetNetworks(channels=channels, widths=widths, latent=32, contrast="none")
    x = images(2, channels=channels)
    made = networks.decoder()(networks.hypersphere().codes(x))
    assert made.shape == x.shape
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize(
    ("channels", "widths", "latent", "contrast", "params", "flops"),
    [
        # Convolutions, the dense layer, the centre, the radius and the range of contrasts. FLOPs
        # are of convolutions, norms and the dense layer.
        (1, (8, 4), 32, "l1", 25 * (8 + 8 * 4) + 4 * 64 * 32 + 32 + 1 + 2, 427_008),
        (1, (8, 4), 32, "none", 25 * (8 + 8 * 4) + 4 * 64 * 32 + 32 + 1, 427_008),
        (
            *(3, (32, 64, 128), 128, "l1"),
            25 * (3 * 32 + 32 * 64 + 64 * 128) + 128 * 16 * 128 + 128 + 1 + 2,
            28_991_488,
        ),
    ],
)
def test_what_it_costs(
    channels: int,
    widths: tuple[int, ...],
    latent: int,
    contrast: Contrast,
    params: int,
    flops: int,
) -> None:
    networks = LenetNetworks(channels=channels, widths=widths, latent=latent, contrast=contrast)
    step = ONE_CLASS.model_copy(update={"networks": networks})
    found = complexity(step.detector.scorer(), torch.zeros(1, channels, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def test_nothing_in_a_network_is_a_bias() -> None:
    # Proposition 2: with one, every image could be mapped to the centre.
    learner = AUTO_ENCODER.learner(0, PackContext())
    for network in learner.trained.values():
        assert not [name for name, _ in network.named_parameters() if "bias" in name]
        trained = {id(p) for p in network.parameters() if p.requires_grad}
        assert trained == {id(weight) for weight in weights_of(network)}


# Learners


def test_the_hypersphere_starts_from_the_auto_encoder_s_weights() -> None:
    first, x = AUTO_ENCODER.learner(0, PackContext()), images(20)
    train(first, x, RECIPE, 0)
    first.calibrate(x, World())
    second = ONE_CLASS.learner(7, PackContext())
    second.load({name: network.state_dict() for name, network in first.trained.items()})
    second.prepare(x, World())
    expected = hypersphere(first).state_dict()
    for name, tensor in hypersphere(second).state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


@pytest.mark.parametrize("step", [ONE_CLASS, SOFT], ids=lambda s: s.name)
def test_a_training_does_not_move_the_centre(step: SvddStep) -> None:
    learner, x, after = step.learner(0, PackContext()), images(20), []
    prepared = step.learner(0, PackContext())
    prepared.prepare(x, World())
    train(learner, x, RECIPE, 0, on_epoch=lambda now, terms: after.append(state(learner)))
    for key, tensor in state(learner).items():
        fixed = any(part in key for part in ("centre", "contrast", "radius"))
        assert torch.equal(tensor, after[0][key]) == fixed, key
        if fixed:
            torch.testing.assert_close(tensor, state(prepared)[key])


@STEPS
def test_a_training_that_goes_on_ends_as_one_never_stopped(step: DsvddStep) -> None:
    x, first = images(20), AUTO_ENCODER.learner(3, PackContext())
    train(first, x, RECIPE.model_copy(update={"epochs": 1}), 0)
    parents = {name: network.state_dict() for name, network in first.trained.items()}
    whole, rest = step.learner(0, PackContext()), step.learner(0, PackContext())
    kept = io.BytesIO()

    def keep(now: TrainingState, terms: Mapping[str, float]) -> None:
        whole.calibrate(x, World())
        if now.epoch == 1:
            now.save(kept)

    whole.load(parents)
    train(whole, x, RECIPE, 5, on_epoch=keep)
    kept.seek(0)
    # As a stage that goes on: parents' weights, prepare, then the state.
    rest.load(parents)
    train(rest, x, RECIPE, 5, state=TrainingState.load(kept))
    rest.calibrate(x, World())
    expected = state(whole)
    for key, tensor in state(rest).items():
        assert torch.equal(tensor, expected[key]), key


def test_a_centre_is_put_back_with_the_state_even_if_prepare_finds_another() -> None:
    x, learner, kept = images(20), ONE_CLASS.learner(0, PackContext()), io.BytesIO()

    def keep(now: TrainingState, terms: Mapping[str, float]) -> None:
        if now.epoch == 1:
            now.save(kept)

    train(learner, x, RECIPE, 5, on_epoch=keep)
    kept.seek(0)
    rest = ONE_CLASS.learner(9, PackContext())
    rest.prepare(x, World())
    assert not torch.equal(hypersphere(rest).centre, hypersphere(learner).centre)
    train(rest, x, RECIPE, 5, state=TrainingState.load(kept))
    assert torch.equal(hypersphere(rest).centre, hypersphere(learner).centre)


@STEPS
def test_lanes_train_and_score_as_alone(step: DsvddStep) -> None:
    assert_lanes_are_as_alone(
        lambda place: step.learner(place, PackContext()),
        RECIPE,
        rtol=1e-3,
        atol=1e-4,
        scores={"rtol": 1e-3, "atol": 1e-3},
    )


def test_a_soft_boundary_leaves_nu_of_the_training_images_outside() -> None:
    learner, x = SOFT.learner(0, PackContext()), images(20)
    learner.prepare(x, World())
    assert (learner.score(x, World()) >= 0).all()
    learner.calibrate(x, World())
    scores = learner.score(x, World())
    assert (scores > 0).sum() == 6
    network = hypersphere(learner)
    with torch.no_grad():
        codes = network.codes(x).double().numpy()
    distances = ((codes - network.centre.detach().numpy()) ** 2).sum(1)
    expected = distances - np.sort(distances)[13]
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-4)


def test_of_one_class_the_score_is_the_distance() -> None:
    learner, x = ONE_CLASS.learner(0, PackContext()), images(6)
    learner.prepare(x, World())
    learner.calibrate(x, World())
    network = hypersphere(learner)
    with torch.no_grad():
        expected = ((network.codes(-x) - network.centre) ** 2).sum(1)
    torch.testing.assert_close(learner.score(-x, World()), expected)


# Settings


def test_the_auto_encoder_is_one_for_all_objectives() -> None:
    settings = DsvddSettings(objectives=("one-class", "soft-boundary"), nu=0.01)
    found = list(settings.variants(dataset_row("mnist"), None, None))
    assert [v.axes for v in found] == [
        {"objective": "one-class", "widths": [8, 4]},
        {"objective": "soft-boundary", "widths": [8, 4]},
    ]
    (one, soft) = (v.steps for v in found)
    assert one[0] == soft[0]
    assert [step.name for step, _ in soft] == ["auto-encoder", "soft-boundary"]
    assert (one[1][0].nu, soft[1][0].nu) == (None, 0.01)  # type: ignore[attr-defined]
    assert one[1][0].detector == soft[1][0].detector


@pytest.mark.parametrize(
    ("dataset", "widths", "latent"), [("fmnist", (8, 4), 32), ("svhn", (32, 64, 128), 128)]
)
def test_networks_are_the_paper_s_by_their_images(
    dataset: str, widths: tuple[int, ...], latent: int
) -> None:
    ((steps),) = (v.steps for v in DsvddSettings().variants(dataset_row(dataset), None, None))
    for step, _ in steps:
        networks = step.networks  # type: ignore[attr-defined]
        assert (networks.widths, networks.latent) == (widths, latent)
        assert networks.contrast == "l1"


def test_recipes_by_name() -> None:
    settings = DsvddSettings.model_validate({})
    assert (settings.pretraining.epochs, settings.training.epochs) == (20, 20)
    assert settings.batch_sizes() == {"pretraining.batch_size": 32, "training.batch_size": 32}
    paper = DsvddSettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.pretraining.epochs, paper.training.epochs) == (350, 3)
    assert DsvddSettings.model_validate({"recipe": "paper"}).training.epochs == 150
    assert (paper.training.batch_size, paper.training.lr) == (200, 0.0001)
    assert paper.batch_sizes() == {"pretraining.batch_size": 200, "training.batch_size": 200}
    assert (paper.nu, paper.weight_decay, paper.contrast) == (0.1, 1e-6, "l1")


def test_what_the_papers_print_are_means_over_ten_classes() -> None:
    mnist = (0.980, 0.997, 0.917, 0.919, 0.949, 0.885, 0.983, 0.946, 0.939, 0.965)
    cifar10 = (0.617, 0.659, 0.508, 0.591, 0.609, 0.657, 0.677, 0.673, 0.759, 0.731)
    for dataset, of in (("mnist", mnist), ("cifar10", cifar10)):
        published = METHOD.published_of(dataset, {"objective": "one-class"})
        assert published is not None
        assert published.auroc == pytest.approx(np.mean(of), abs=5e-5)
