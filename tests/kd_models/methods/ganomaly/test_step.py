"""GANomaly as a method: the objectives of its paper, and the distance of latents for a score."""

import pytest
import torch
from lanes import assert_lanes_are_as_alone, images

from kd_models.evaluation.cost import complexity
from kd_models.methods.base import PackContext
from kd_models.methods.ganomaly.losses import gan_terms
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.ganomaly.objectives import GanomalyWeights
from kd_models.methods.ganomaly.settings import GanomalySettings
from kd_models.methods.ganomaly.step import GanomalyLearner, GanomalyStep
from kd_models.methods.networks import WIDE, Widths
from kd_models.methods.objectives import LOSS


def step(con: float = 50, widths: Widths = (1, 2, 4)) -> GanomalyStep:
    network = NetworkConfig(channels=1, widths=widths, normalisation="batch")
    return GanomalyStep(network=network, loss_weights=GanomalyWeights(con=con), distance="l2")


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
    steps = [step(con) for con in (50, 1, 10)]
    assert len({each.lane_group for each in steps}) == 1
    assert_lanes_are_as_alone(
        lambda place: steps[place].learner(place, PackContext()), rtol=1e-3, atol=1e-4
    )


def test_recipes_by_name() -> None:
    assert GanomalySettings.model_validate({}).training.epochs == 5
    paper = GanomalySettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.training.epochs, paper.training.lr, paper.distance) == (3, 0.002, "mse")
