"""GANomaly as a method: the objectives of its paper, and the distance of latents for a score."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kd_models.evaluation.cost import complexity
from kd_models.methods.base import PackContext
from kd_models.methods.ganomaly.losses import gan_terms
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.ganomaly.objectives import GanomalyWeights
from kd_models.methods.ganomaly.settings import GanomalySettings
from kd_models.methods.ganomaly.step import GanomalyLearner, GanomalyStep
from kd_models.methods.networks import WIDE, Widths
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe
from kd_models.training.epochs import Training, train, train_together


def step(con: float = 50, widths: Widths = (1, 2, 4)) -> GanomalyStep:
    network = NetworkConfig(channels=1, widths=widths, normalisation="batch")
    return GanomalyStep(network=network, loss_weights=GanomalyWeights(con=con), distance="l2")


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_weights_are_the_paper_s() -> None:
    assert GanomalyWeights().model_dump() == {"con": 50, "enc": 1, "adv": 1}


def test_the_generator_minimises_its_terms_and_the_discriminator_its_own() -> None:
    learner, x = GanomalyLearner(step(), 0), images(4)
    generator, discriminator = learner.trained["detector"], learner.trained["discriminator"]
    first, second = learner.objectives()
    with torch.no_grad():
        made = generator(x)
        expected = gan_terms(x, made, discriminator(x)[1], discriminator(made.x_hat_BCSS)[1], "l2")
    terms, handed_on = first({"x": x})
    for name, term in expected.items():
        torch.testing.assert_close(terms[name].detach(), term, rtol=1e-4, atol=1e-5)
    total = 50 * expected["con"] + expected["enc"] + expected["adv"]
    assert terms[LOSS].item() == pytest.approx(total.item(), rel=1e-4)
    terms[LOSS].backward()
    assert all(p.grad is None for p in discriminator.parameters())
    terms, _ = second({"x": x, **handed_on})
    assert terms[LOSS].item() == pytest.approx(
        (terms["gan/ce_real"].item() + terms["gan/ce_fake"].item()) / 2
    )


def test_the_score_is_the_distance_of_latents() -> None:
    learner, x = GanomalyLearner(step(), 0), images(3)
    with torch.no_grad():
        scores = learner.scorer()(x)
        made = learner.trained["detector"].eval()(x)
    torch.testing.assert_close(scores, (made.z1_BZ - made.z2_BZ).abs().sum(1))


@pytest.mark.parametrize(
    ("widths", "params", "flops"), [(WIDE, 5_117_568, 54_435_840), ((1, 2, 4), 49_722, 76_416)]
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    found = complexity(step(widths=widths).detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def test_lanes_that_differ_in_weights_train_as_alone() -> None:
    recipe = Recipe(epochs=2, batch_size=4, lr=0.001)
    steps = [step(con) for con in (50, 1, 10)]
    assert len({each.lane_group for each in steps}) == 1
    learners = [each.learner(seed, PackContext()) for seed, each in enumerate(steps)]
    lanes = [Training(own, {"x": images(9, n)}, n) for n, own in enumerate(learners)]
    train_together(lanes, recipe, lambda epoch: ())
    for place, (each, together) in enumerate(zip(steps, learners, strict=True)):
        alone = each.learner(place, PackContext())
        train(alone, images(9, place), recipe, place)
        assert_close(weights(together), weights(alone))


def weights(learner: GanomalyLearner) -> Sequence[Tensor]:
    return [p for network in learner.trained.values() for p in network.parameters()]


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_recipes_by_name() -> None:
    assert GanomalySettings.model_validate({}).training.epochs == 5
    paper = GanomalySettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.training.epochs, paper.training.lr, paper.distance) == (3, 0.002, "mse")
