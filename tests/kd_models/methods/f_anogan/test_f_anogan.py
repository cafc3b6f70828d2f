"""f-AnoGAN against its paper's formulas, and its critic's gradient against torch's."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
import torch
from lanes import assert_lanes_are_as_alone, images
from torch import Tensor, nn

from kd_models.evaluation.cost import complexity
from kd_models.methods.base import Learner, PackContext, Published, Step
from kd_models.methods.errors import mean_squared_error
from kd_models.methods.f_anogan import METHOD
from kd_models.methods.f_anogan.input_gradient import input_gradient
from kd_models.methods.f_anogan.losses import gradient_penalty
from kd_models.methods.f_anogan.networks import EncoderGenerator, FAnoganDetector
from kd_models.methods.f_anogan.objectives import CRITIC_LATENTS, GENERATOR_LATENTS, PLACES
from kd_models.methods.f_anogan.settings import FAnoganSettings
from kd_models.methods.f_anogan.step import EncoderLearner, EncoderStep, GanLearner, GanStep
from kd_models.methods.networks import WIDE, ConvNetworks, Discriminator, Widths
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.training.state import TrainingState

NETWORKS = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.001)


def states(learner: Learner) -> dict[str, Mapping[str, Tensor]]:
    return {
        name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
        for name, network in learner.trained.items()
    }


@cache
def trained_gan(seed: int = 0) -> dict[str, Mapping[str, Tensor]]:
    """A generator whose images depend on its latents: with fewer steps a narrow one is stuck."""
    learner = GanLearner(GanStep(networks=NETWORKS), seed)
    train(learner, images(8, seed), RECIPE.model_copy(update={"epochs": 40}), seed)
    return states(learner)


# Losses


def test_the_penalty_by_hand() -> None:
    # Gradients of norms 5 and 1: ((5 - 1)^2 + 0) / 2.
    gradients = torch.zeros(2, 1, 2, 2)
    gradients[0, 0, 0] = torch.tensor([3.0, 4.0])
    gradients[1, 0, 1, 1] = -1.0
    assert gradient_penalty(gradients).item() == pytest.approx(8)


def test_the_penalty_of_no_gradient_can_be_minimised() -> None:
    gradients = torch.zeros(2, 1, 2, 2, requires_grad=True)
    gradient_penalty(gradients).backward()
    assert gradients.grad is not None
    assert gradients.grad.isfinite().all()


def test_the_residual_is_a_mean_for_each_image() -> None:
    a, b = images(3, 1), images(3, 2)
    expected = ((a.numpy() - b.numpy()) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(mean_squared_error(a, b).numpy(), expected, rtol=1e-5)


# The critic's gradient


def test_the_gradient_is_torch_s_and_so_is_its_own() -> None:
    torch.manual_seed(0)
    critic = Discriminator(3, (4, 5, 6), "per-image").double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(critic(x)[0].sum(), x, create_graph=True)
    found = input_gradient(critic, x)
    torch.testing.assert_close(found, expected)
    along = torch.randn_like(expected)
    # But for the last normalisation's offset, on which no gradient depends.
    inputs = [p for name, p in critic.named_parameters() if name != "features.7.bias"] + [x]
    of_expected = torch.autograd.grad((expected * along).sum(), inputs)
    of_found = torch.autograd.grad((found * along).sum(), inputs)
    for ours, theirs in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_critic_that_looks_at_other_images_is_refused() -> None:
    with pytest.raises(TypeError, match="no gradient is written out for BatchNorm2d"):
        input_gradient(Discriminator(1, (1, 2, 4)), images(2))


# The first step


def test_the_critic_s_loss() -> None:
    learner = GanLearner(GanStep(networks=NETWORKS, penalty=3.0), seed=0)
    generator, critic = learner.trained.values()
    x, places = images(4), torch.rand(4)
    batch = {"x": x, CRITIC_LATENTS: torch.randn(4, 8), PLACES: places}
    terms, made_for_others = learner.objectives()[0](batch)
    with torch.no_grad():
        made = generator(batch[CRITIC_LATENTS])
    at = places[:, None, None, None]
    between = (at * x + (1 - at) * made).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between)[0].sum(), between)
    norms = np.sqrt((gradient.numpy() ** 2).sum((1, 2, 3)))
    values = critic(made)[0].mean() - critic(x)[0].mean()
    expected = values.item() + 3 * ((norms - 1) ** 2).mean()
    assert terms[LOSS].item() == pytest.approx(expected, rel=1e-4)
    assert not made_for_others
    terms[LOSS].backward()
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad is not None for p in critic.parameters())


def test_the_generator_s_loss() -> None:
    learner = GanLearner(GanStep(networks=NETWORKS), seed=0)
    generator, critic = learner.trained.values()
    batch = {"x": images(4), GENERATOR_LATENTS: torch.randn(4, 8)}
    terms, _ = learner.objectives()[1](batch)
    expected = -critic(generator(batch[GENERATOR_LATENTS]))[0].mean()
    torch.testing.assert_close(terms[LOSS], expected)
    terms[LOSS].backward()
    assert all(p.grad is None for p in critic.parameters())
    assert all(p.grad is not None for p in generator.parameters())


def test_the_critic_takes_as_many_steps_as_it_is_told() -> None:
    learner = GanLearner(GanStep(networks=NETWORKS, critic_steps=3), seed=0)
    ended: list[TrainingState] = []
    recipe = RECIPE.model_copy(update={"epochs": 1})
    train(learner, images(28), recipe, 0, on_epoch=lambda state, terms: ended.append(state))
    [state] = ended
    assert [int(optimizer["state"][0]["step"]) for optimizer in state.optimizers] == [7, 3]


def test_the_first_step_scores_by_the_critic() -> None:
    learner = GanLearner(GanStep(networks=NETWORKS), seed=0)
    critic, x = learner.trained["critic"], images(4, 5)
    with torch.no_grad():
        torch.testing.assert_close(learner.scorer()(x), -critic(x)[0].squeeze(1))


# The second step


def test_the_score_and_the_encoder_s_loss_are_the_paper_s() -> None:
    learner = EncoderLearner(EncoderStep(networks=NETWORKS, kappa=0.5), seed=0)
    learner.load(trained_gan())
    (networks,) = learner.trained.values()
    assert isinstance(networks, EncoderGenerator)
    x, scorer = images(4, 5), learner.scorer()
    with torch.no_grad():
        x_hat = networks.generator(networks.encoder(x)[0])
        f_x, f_x_hat = (networks.features(each).numpy() for each in (x, x_hat))
        scores = scorer(x)
        # Still in evaluation mode, as the scorer left it.
        terms, _ = learner.objectives()[0]({"x": x})
    image = ((x.numpy() - x_hat.numpy()) ** 2).sum((1, 2, 3)) / (32 * 32)
    features = ((f_x - f_x_hat) ** 2).sum((1, 2, 3)) / (4 * 4 * 4)
    np.testing.assert_allclose(scores.numpy(), image + 0.5 * features, rtol=1e-4)
    assert terms[LOSS].item() == pytest.approx(scores.mean().item())
    assert terms["image"].item() == pytest.approx(image.mean(), rel=1e-4)


def test_the_encoder_alone_is_trained() -> None:
    gan = trained_gan()
    learner = EncoderLearner(EncoderStep(networks=NETWORKS), seed=0)
    learner.load(gan)
    before = states(learner)["detector"]
    train(learner, images(8), RECIPE, 0)
    after = states(learner)["detector"]
    for name, tensor in after.items():
        part, _, own = name.partition(".")
        if part == "generator":
            assert torch.equal(tensor, gan["generator"][own])
        elif part == "features":
            assert torch.equal(tensor, gan["critic"][name])
        else:
            assert not torch.equal(tensor, before[name]), name


def test_a_whole_detector_is_loaded_again() -> None:
    first, other = (EncoderLearner(EncoderStep(networks=NETWORKS), seed) for seed in (0, 1))
    other.load(states(first))
    x = images(2)
    assert torch.equal(first.scorer()(x), other.scorer()(x))


# Lanes


@pytest.mark.parametrize("step", [GanStep(networks=NETWORKS), EncoderStep(networks=NETWORKS)])
def test_lanes_train_as_alone(step: Step) -> None:
    def learner(seed: int) -> Learner:
        made = step.learner(seed, PackContext())
        made.load(trained_gan(seed))
        return made

    assert_lanes_are_as_alone(learner)


# Costs, seeds, settings


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of all three, the encoder's head and the generator's first layer.
        (WIDE, 3 * (656_384 + 896) + 2 * 16 * 256 * 128, 69_607_424),
        ((1, 2, 4), 3 * (176 + 14) + 2 * 16 * 4 * 128, 55_424),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    networks = ConvNetworks(channels=1, widths=widths, latent=128)
    detector = EncoderStep(networks=networks).detector
    found = complexity(detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def parameters(learner: Learner) -> list[nn.Parameter]:
    return [p for network in learner.trained.values() for p in network.parameters()]


def test_recipes_by_name() -> None:
    own = FAnoganSettings.model_validate({})
    assert (own.training.batch_size, own.encoder_training.epochs, own.latent) == (16, 20, 128)
    paper = FAnoganSettings.model_validate(
        {"recipe": "paper", "encoder_training": {"epochs": 3, "batch_size": 8}}
    )
    assert (paper.training.lr, paper.training.betas) == (0.0001, (0.0, 0.9))
    assert (paper.encoder_training.epochs, paper.encoder_training.lr) == (3, 0.00005)
    sizes = {"training.batch_size": 64, "encoder_training.batch_size": 8}
    assert paper.batch_sizes() == sizes


def test_settings_reach_their_steps() -> None:
    settings = FAnoganSettings(penalty=2.0, critic_steps=3, kappa=0.5)
    (gan, gan_recipe), (encoder, encoder_recipe) = settings.chain(NETWORKS)
    assert gan == GanStep(networks=NETWORKS, penalty=2.0, critic_steps=3)
    assert gan.detector == FAnoganDetector(networks=NETWORKS, kappa=None)
    assert encoder.detector == FAnoganDetector(networks=NETWORKS, kappa=0.5)
    assert (gan_recipe, encoder_recipe) == (settings.training, settings.encoder_training)


def test_what_is_published_is_of_the_default_widths() -> None:
    published = METHOD.published_of("mnist", {"widths": list(WIDE)})
    assert published == Published(0.8906, gmean=0.8301, fpr=0.1905, fnr=0.1459)
    assert METHOD.published_of("mnist", {"widths": [1, 2, 4]}) is None
