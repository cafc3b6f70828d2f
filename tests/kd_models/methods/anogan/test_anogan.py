"""AnoGAN against its paper's formulas, and its search against torch's own gradients."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from lanes import assert_lanes_are_as_alone, images
from pydantic import ValidationError
from torch import Tensor, nn

from kd_models.evaluation.cost import complexity
from kd_models.export.int8 import to_int8
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.methods.anogan import METHOD, layers
from kd_models.methods.anogan.layers import gradient_before, layers_of, outputs_of, sign_of
from kd_models.methods.anogan.losses import absolute_error, mapping_loss
from kd_models.methods.anogan.objectives import UNIFORM
from kd_models.methods.anogan.search import LatentSearch, Search
from kd_models.methods.anogan.settings import AnoganSettings
from kd_models.methods.anogan.step import AnoganDetector, AnoganLearner, AnoganStep
from kd_models.methods.base import Learner, Published
from kd_models.methods.networks import WIDE, ConvNetworks, Discriminator, Widths
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.world import World
from kd_score.detector import run, session

NETWORKS = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)
SEARCH = Search(steps=4)
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.001)


def learner_of(seed: int = 0, search: Search = SEARCH) -> AnoganLearner:
    return AnoganLearner(AnoganStep(networks=NETWORKS, search=search), seed)


def states(learner: Learner) -> dict[str, Mapping[str, Tensor]]:
    return {
        name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
        for name, network in learner.trained.items()
    }


@cache
def trained() -> dict[str, Mapping[str, Tensor]]:
    """Networks whose gradients are of some size."""
    learner = learner_of()
    train(learner, images(16), RECIPE.model_copy(update={"epochs": 40, "lr": 0.01}), 0)
    return states(learner)


def trained_learner(search: Search = SEARCH) -> AnoganLearner:
    learner = learner_of(1, search)
    learner.load(trained())
    return learner


def search_of(learner: Learner) -> LatentSearch:
    search = learner.trained["detector"]
    assert isinstance(search, LatentSearch)
    return search


def discriminator_of(learner: AnoganLearner) -> Discriminator:
    discriminator = learner.objectives()[1].get_submodule("discriminator")
    assert isinstance(discriminator, Discriminator)
    return discriminator


# Losses


def test_the_loss_by_hand() -> None:
    a, b = torch.tensor([[[1.0, -2.0]], [[0.0, 3.0]]]), torch.zeros(2, 1, 2)
    assert absolute_error(a, b).tolist() == [3, 3]
    # (1 - 0.1) x 3 + 0.1 x 7
    assert mapping_loss(torch.tensor(3.0), torch.tensor(7.0), 0.1).item() == pytest.approx(3.4)


def test_the_derivative_of_the_absolute_value_is_a_ramp_around_0() -> None:
    found = sign_of(torch.tensor([-2.0, -0.3, -0.15, 0.0, 0.15, 2.0]))
    assert found.tolist() == pytest.approx([-1, -1, -0.5, 0, 0.5, 1])


def test_what_the_networks_minimise() -> None:
    learner = learner_of()
    generator, discriminator = deepcopy(search_of(learner).generator), discriminator_of(learner)
    generating, discriminating = learner.objectives()
    x, uniform = images(4), torch.rand(4, 8)
    # Each logit as both objectives see it: the batch norms are in training mode.
    with torch.no_grad():
        made = generator(2 * uniform - 1)
        real, fake = (deepcopy(discriminator)(each)[0].numpy() for each in (x, made))
    terms, handed_on = generating({"x": x, UNIFORM: uniform})
    expected = np.log(1 + np.exp(-fake)).mean()  # -log D(G(z))
    assert terms[LOSS].item() == pytest.approx(expected, rel=1e-5)
    terms[LOSS].backward()
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(p.grad is not None for p in generating.parameters())
    terms, _ = discriminating({"x": x, **handed_on})
    # -log D(x) - log (1 - D(G(z)))
    expected = np.log(1 + np.exp(-real)).mean() + np.log(1 + np.exp(fake)).mean()
    assert terms[LOSS].item() == pytest.approx(expected, rel=1e-5)


# Layers and their gradient


def test_layers_do_what_the_networks_do() -> None:
    search = search_of(trained_learner()).eval()
    z, x = torch.randn(3, 8), images(3)
    with torch.no_grad():
        found = outputs_of(layers_of(search.generator.layers), z[:, :, None, None])[-1]
        torch.testing.assert_close(found, search.generator(z))
        found = outputs_of(layers_of(search.features), x)[-1]
        torch.testing.assert_close(found, search.features(x))


def test_the_gradient_is_torch_s_but_for_the_ramps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "RAMP", 1e-12)
    search = deepcopy(search_of(trained_learner())).double().eval()
    z = torch.randn(3, 8, 1, 1, dtype=torch.float64, requires_grad=True)
    both = layers_of(search.generator.layers) + layers_of(search.features)
    outputs = outputs_of(both, z)
    along = torch.randn_like(outputs[-1])
    (expected,) = torch.autograd.grad(
        (search.features(search.generator(z[..., 0, 0])) * along).sum(), z
    )
    torch.testing.assert_close(gradient_before(both, outputs, along), expected)


@pytest.mark.parametrize("layer", [nn.Linear(1, 1), nn.Conv2d(1, 1, 1)])
def test_a_layer_of_another_kind_is_refused(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match=f"no gradient is written out for {type(layer).__name__}"):
        layers_of(nn.Sequential(layer, nn.ReLU()))
    with pytest.raises(TypeError, match=f"no gradient is written out for {type(layer).__name__}"):
        layers_of(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), layer))


# The search


def test_the_score_is_the_loss_after_adam_s_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "RAMP", 1e-12)
    learner = trained_learner(Search(steps=3, rate=0.3, feature_weight=0.2))
    search = search_of(learner).eval()
    x = images(1, 5)

    def loss(z: Tensor) -> Tensor:
        x_hat = search.generator(z)
        residual = (x - x_hat).abs().sum()
        return 0.8 * residual + 0.2 * (search.features(x) - search.features(x_hat)).abs().sum()

    z = search.start_Z.detach().clone()[None].requires_grad_()
    adam = torch.optim.Adam([z], betas=(0.9, 0.999), eps=1.0)
    for step in range(3):
        adam.param_groups[0]["lr"] = 0.3 * (1 - step / 3)
        (z.grad,) = torch.autograd.grad(loss(z), z)
        adam.step()
    found = learner.score(x, World())
    assert found.item() == pytest.approx(loss(z).item(), rel=1e-4)
    assert found.item() < loss(search.start_Z[None]).item()


def test_a_score_is_of_an_image_alone() -> None:
    learner, x = trained_learner(), images(5, 5)
    together = learner.score(x, World())
    alone = torch.cat([learner.score(each[None], World()) for each in x])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=0)
    assert torch.equal(together, learner.score(x, World()))


def test_rounding_does_not_decide_where_it_goes() -> None:
    learner = trained_learner(Search(steps=32))
    x = images(64, 5)
    exact = deepcopy(search_of(learner)).double().eval()
    with torch.no_grad():
        expected = exact(x.double())
    difference = (learner.score(x, World()) - expected).abs().max() / expected.max()
    assert difference < 1e-5


def test_in_8_bits_it_runs() -> None:
    scorer = trained_learner(Search(steps=2)).scorer()
    model = to_onnx(program_of(scorer, channels=1, image_size=32))
    pixels = ((images(8) + 1) * 127.5).numpy()
    found = run(session(to_int8(model, pixels)), pixels)
    assert found.shape == (8,)
    assert np.isfinite(found).all()


# Lanes


def test_all_is_trained_but_where_a_search_starts() -> None:
    learner = learner_of()
    before = states(learner)
    train(learner, images(8), RECIPE, 0)
    moved = {
        key: not torch.equal(tensor, before[name][key])
        for name, network in states(learner).items()
        for key, tensor in network.items()
    }
    assert moved == {key: key != "start_Z" for key in moved}


def test_lanes_train_and_score_as_alone() -> None:
    assert_lanes_are_as_alone(learner_of)


# Costs, seeds, settings


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of both, the generator's first layer, and where a search starts.
        (WIDE, 2 * (656_384 + 896) + 16 * 256 * 64 + 64, 1_150_287_872),
        ((1, 2, 4), 2 * (176 + 14) + 16 * 4 * 64 + 64, 684_032),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    networks = ConvNetworks(channels=1, widths=widths, latent=64)
    detector = AnoganStep(networks=networks).detector
    found = complexity(detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)
    one, two, three = widths
    features = 16 * (16 * 16 * one + 8 * 8 * one * two + 4 * 4 * two * three)
    both = 2 * features + 16 * 64 * three
    # Features of the image; both, there and back, in each of 16 steps; both for the score.
    assert flops == features + 16 * 2 * both + both


def test_a_start_is_a_latent_of_the_seed_like_those_of_the_training() -> None:
    networks = NETWORKS.model_copy(update={"latent": 1000})
    start_Z, other = (
        search_of(AnoganLearner(AnoganStep(networks=networks), seed)).start_Z for seed in (0, 1)
    )
    assert not torch.equal(start_Z, other)
    assert -1 <= start_Z.min() < -0.9
    assert 0.9 < start_Z.max() <= 1


def test_recipes_by_name() -> None:
    own = AnoganSettings.model_validate({})
    assert (own.training.batch_size, own.latent, own.search) == (8, 64, Search())
    paper = AnoganSettings.model_validate({"recipe": "paper", "search": {"rate": 0.1}})
    assert (paper.training.epochs, paper.training.lr, paper.latent) == (20, 0.0002, 100)
    assert paper.search == Search(steps=64, rate=0.1, feature_weight=0.1)


def test_as_many_steps_as_the_paper_s_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"search\.steps\n.*less than or equal to 64"):
        AnoganSettings.model_validate({"search": {"steps": 500}})


def test_settings_reach_the_step() -> None:
    settings = AnoganSettings(search=SEARCH)
    [(step, recipe)] = settings.chain(NETWORKS)
    assert step == AnoganStep(networks=NETWORKS, search=SEARCH)
    assert step.detector == AnoganDetector(networks=NETWORKS, search=SEARCH)
    assert recipe == settings.training


def test_what_is_published_is_of_the_default_widths() -> None:
    assert METHOD.published_of("mnist", {"widths": list(WIDE)}) == Published(0.9127)
    assert METHOD.published_of("cifar10", {"widths": list(WIDE)}) == Published(0.6179)
    assert METHOD.published_of("mnist", {"widths": [1, 2, 4]}) is None
