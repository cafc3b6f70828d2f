"""OCGAN against its paper's formulas, written again in NumPy, and lanes against each alone."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from lanes import assert_lanes_are_as_alone
from torch import Tensor, nn
from torch.func import functional_call, vmap

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import Learner, Published
from kd_models.methods.draws import Draw
from kd_models.methods.errors import mean_squared_error
from kd_models.methods.networks import WIDE, ConvNetworks, Widths
from kd_models.methods.objectives import LOSS, Batch, Objective
from kd_models.methods.ocgan import METHOD
from kd_models.methods.ocgan.mining import Mining, mine
from kd_models.methods.ocgan.networks import AutoEncoder
from kd_models.methods.ocgan.objectives import NOISE, UNIFORM
from kd_models.methods.ocgan.settings import OcganSettings
from kd_models.methods.ocgan.step import Constraints, OcganLearner, OcganStep
from kd_models.training.lanes.kernels import LaneKernels

NETWORKS = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)
MINING = Mining()


def learner(seed: int = 0, **constraints: float | Widths) -> OcganLearner:
    chosen = {"visual_widths": (1, 2, 2)} | constraints
    return OcganLearner(
        OcganStep(networks=NETWORKS, constraints=Constraints.model_validate(chosen), mining=MINING),
        seed,
    )


def drawn(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.rand(count, 1, 32, 32, generator=generator) * 2 - 1,
        NOISE: torch.randn(count, 1, 32, 32, generator=generator),
        UNIFORM: torch.rand(count, 8, generator=generator),
    }


def auto_encoder_of(learner: Learner) -> AutoEncoder:
    network = learner.trained["detector"]
    assert isinstance(network, AutoEncoder)
    return network


def states(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def outputs_of(network: nn.Module, inputs: Tensor) -> Tensor:
    """The first of a copy's, which may change its running statistics."""
    outputs = deepcopy(network)(inputs)
    found: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return found


def ascended(
    decoder: nn.Module, classifier: nn.Module, z: Tensor, steps: int = 5, rate: float = 2.0
) -> Tensor:
    """Gradient ascent to what the classifier takes for fakes, by torch's own gradients."""
    decoder, classifier = deepcopy(decoder), deepcopy(classifier)
    for _ in range(steps):
        z = z.clone().requires_grad_()
        # -log of the probability, of each latent alone, that its image is real
        loss = -torch.sigmoid(classifier(decoder(z))[0]).log().sum()
        z = (z + rate * torch.autograd.grad(loss, z)[0]).detach().clamp(-1, 1)
    return z


def test_the_reconstruction_error_by_hand() -> None:
    x = torch.tensor([[[[1.0, -1.0], [0.0, 0.5]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert mean_squared_error(x, torch.zeros_like(x)).tolist() == pytest.approx([2.25 / 4, 0])


def test_the_losses_are_the_paper_s() -> None:
    one = learner(noise=0.3, reconstruction_weight=7.0)
    model, batch = auto_encoder_of(one), drawn(6)
    classifier, latent, visual = (
        one.trained[name] for name in ("classifier", "discriminator.latent", "discriminator.visual")
    )
    encoded = deepcopy(model).encoder(batch["x"] + 0.3 * batch[NOISE])[0].tanh()
    x_hat = deepcopy(model.decoder)(encoded)
    random = batch[UNIFORM] * 2 - 1
    fake = deepcopy(model.decoder)(random)
    mined = ascended(model.decoder, classifier, random)
    of_mined = deepcopy(model.decoder)(mined)

    def real(network: nn.Module, inputs: Tensor) -> float:
        return float(
            -np.log(1 / (1 + np.exp(-outputs_of(network, inputs).detach().numpy()))).mean()
        )

    def unreal(network: nn.Module, inputs: Tensor) -> float:
        return float(-np.log(1 / (1 + np.exp(outputs_of(network, inputs).detach().numpy()))).mean())

    error = float(((batch["x"] - x_hat).detach().numpy() ** 2).mean())
    expected = [
        {"c_rec": real(classifier, x_hat), "c_fake": unreal(classifier, fake)},
        {
            "dl_random": real(latent, random),
            "dl_encoded": unreal(latent, encoded),
            "dv_x": real(visual, batch["x"]),
            "dv_fake": unreal(visual, fake),
        },
        {"rec": error, "latent": real(latent, encoded), "visual": real(visual, of_mined)},
    ]
    sums = [sum(terms.values()) / 2 for terms in expected[:2]]
    sums.append(7 * error + expected[2]["latent"] + expected[2]["visual"])
    for objective, terms, whole in zip(one.objectives(), expected, sums, strict=True):
        found, made = objective(batch)
        batch |= made
        assert {n: t.item() for n, t in found.items()} == pytest.approx(
            terms | {LOSS: whole}, rel=1e-5
        )


def test_each_objective_trains_its_own_networks_alone() -> None:
    one, batch = learner(), drawn(6)
    own = (["classifier"], ["discriminator.latent", "discriminator.visual"], ["detector"])
    for objective, names in zip(one.objectives(), own, strict=True):
        terms, made = objective(batch)
        terms[LOSS].backward()
        batch |= made
        for name, network in one.trained.items():
            trained = [p.grad is not None for p in network.parameters()]
            assert trained == [name in names] * len(trained), name
            network.zero_grad()


def test_running_statistics_are_those_of_reconstructions() -> None:
    one, batch = learner(), drawn(6)
    expected = deepcopy(auto_encoder_of(one))
    expected(batch["x"] + 0.2 * batch[NOISE])
    for objective in one.objectives():
        batch |= objective(batch)[1]
    for name, tensor in states(expected).items():
        assert torch.equal(auto_encoder_of(one).state_dict()[name], tensor), name


def test_mining_is_gradient_ascent_in_the_cube() -> None:
    one = learner()
    decoder, classifier = auto_encoder_of(one).decoder, one.trained["classifier"]
    before = states(decoder), states(classifier)
    start = drawn(6)[UNIFORM] * 2 - 1
    mined = mine(decoder, classifier, start, MINING)
    torch.testing.assert_close(mined, ascended(decoder, classifier, start))
    assert (mined - start).abs().mean() > 0.1
    assert mined.abs().max() <= 1
    assert not mined.requires_grad
    fakes = [outputs_of(classifier, outputs_of(decoder, z)).mean() for z in (start, mined)]
    assert fakes[1] < fakes[0]
    twice = mine(decoder, classifier, start, Mining(steps=2, rate=0.5))
    torch.testing.assert_close(twice, ascended(decoder, classifier, start, 2, 0.5))
    for network, state in zip((decoder, classifier), before, strict=True):
        assert all(p.grad is None for p in network.parameters())
        assert all(torch.equal(network.state_dict()[name], t) for name, t in state.items())


def test_lanes_mine_what_each_mines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_on_a_gpu(x: Tensor, *args: Any) -> Tensor:
        if torch._C._functorch.is_batchedtensor(x):
            raise RuntimeError("NYI: querying is_contiguous inside of vmap")
        return batch_norm(x, *args)

    batch_norm = torch.batch_norm
    monkeypatch.setattr(torch, "batch_norm", as_on_a_gpu)
    ones = [learner(seed) for seed in range(3)]
    pairs = [nn.ModuleList((auto_encoder_of(o).decoder, o.trained["classifier"])) for o in ones]
    starts = [drawn(6, seed)[UNIFORM] * 2 - 1 for seed in range(3)]
    alone = [mine(pair[0], pair[1], z, MINING) for pair, z in zip(pairs, starts, strict=True)]

    class Mines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = pairs[0]

        def forward(self, z: Tensor) -> Tensor:
            return mine(self.pair[0], self.pair[1], z, MINING)

    stacked = {
        f"pair.{name}": torch.stack([pair.state_dict()[name] for pair in pairs])
        for name in pairs[0].state_dict()
    }
    with LaneKernels():
        found = vmap(lambda own, z: functional_call(Mines(), own, (z,)))(
            stacked, torch.stack(starts)
        )
    torch.testing.assert_close(found, torch.stack(alone))
    assert (alone[0] - starts[0]).abs().mean() > 0.1


class InDouble(Draw):
    """The same numbers with more digits to calculate with."""

    def numbers(self, count: int, generator: torch.Generator) -> Tensor:
        return super().numbers(count, generator).double()


class DoubleLearner(OcganLearner):
    """In double precision, so that rounding, which Adam magnifies, is no excuse."""

    def __init__(self, seed: int, reconstruction_weight: float) -> None:
        weight = Constraints(reconstruction_weight=reconstruction_weight)
        step = OcganStep(networks=NETWORKS, constraints=weight, mining=MINING)
        super().__init__(step, seed)
        for network in self.trained.values():
            network.double()

    def draws(self) -> Mapping[str, Draw]:
        return {name: InDouble(draw.shape, draw.kind) for name, draw in super().draws().items()}

    def objectives(self) -> Sequence[Objective]:
        return [objective.double() for objective in super().objectives()]


def test_lanes_train_as_each_alone() -> None:
    weights = (10.0, 3.0, 10.0)
    assert_lanes_are_as_alone(
        lambda place: DoubleLearner(place, weights[place]), rtol=1e-7, atol=1e-9, double=True
    )


def test_steps_that_differ_in_lambda_alone_are_lanes_of_one_group() -> None:
    def step(**constraints: float) -> OcganStep:
        return OcganStep(networks=NETWORKS, constraints=Constraints.model_validate(constraints))

    assert step(reconstruction_weight=3.0).lane_group == step().lane_group == step()
    assert step(noise=0.1).lane_group != step()
    assert step().model_copy(update={"mining": MINING}).lane_group != step()


def test_the_score_is_the_error_of_images_without_noise() -> None:
    one = learner()
    x = drawn(4)["x"]
    scorer = one.scorer()
    with torch.no_grad():
        model = auto_encoder_of(one)
        x_hat = model.decoder(torch.tanh(model.encoder(x)[0]))
        expected = ((x - x_hat).numpy() ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(scorer(x).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of both, the head of Z numbers, and the first layer of Z.
        (WIDE, 2 * (656_384 + 896) + 16 * 256 * 2 * 64, 34_717_696),
        ((1, 2, 4), 2 * (176 + 14) + 16 * 4 * 2 * 64, 26_368),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    step = OcganStep(networks=ConvNetworks(channels=1, widths=widths, latent=64))
    found = complexity(step.detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def test_recipes_by_name() -> None:
    recommended = OcganSettings.model_validate({})
    assert (recommended.latent, recommended.training.batch_size) == (64, 16)
    paper = OcganSettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.latent, paper.training.epochs, paper.training.batch_size) == (16, 3, 512)
    assert paper.batch_sizes() == {"training.batch_size": 512, "second_step.batch_size": 512}
    assert paper.second_step is not None
    assert paper.second_step.epochs == 50


def test_latents_are_random_in_the_first_step_and_mined_in_the_second() -> None:
    (variant,) = OcganSettings().variants(dataset_row("digits"), None, None)
    assert [step.name for step, _ in variant.steps] == [
        "ocgan 64-128-256",
        "ocgan 64-128-256 mined",
    ]
    (first, _), (second, _) = variant.steps
    assert isinstance(first, OcganStep)
    assert isinstance(second, OcganStep)
    assert (first.mining, second.mining) == (None, MINING)
    (variant,) = OcganSettings(second_step=None).variants(dataset_row("digits"), None, None)
    assert [step for step, _ in variant.steps] == [first]


def test_random_latents_are_judged_as_they_are() -> None:
    step = OcganStep(networks=NETWORKS)
    one, batch = OcganLearner(step, 0), drawn(6)
    random = batch[UNIFORM] * 2 - 1
    image = outputs_of(auto_encoder_of(one).decoder, random)
    logit = outputs_of(one.trained["discriminator.visual"], image)
    *_, last = one.objectives()
    for objective in one.objectives()[:2]:
        batch |= objective(batch)[1]
    torch.testing.assert_close(last(batch)[0]["visual"], -torch.sigmoid(logit).log().mean())


def test_what_is_published_is_of_the_default_widths() -> None:
    (variant,) = OcganSettings().variants(dataset_row("mnist"), None, None)
    assert METHOD.published_of("mnist", variant.axes) == Published(0.975)
    assert METHOD.published_of("cifar10", variant.axes) == Published(0.6566)
    assert METHOD.published_of("cifar10", {"widths": [1, 2, 4]}) is None
