"""VAE against its paper's formulas, written again in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lanes import assert_lanes_are_as_alone, images

from kd_models.evaluation.cost import complexity
from kd_models.methods.networks import WIDE, ConvNetworks, Widths
from kd_models.methods.objectives import LOSS
from kd_models.methods.vae.losses import divergence, reconstruction
from kd_models.methods.vae.settings import VaeSettings
from kd_models.methods.vae.step import NOISE, Vae, VaeLearner, VaeStep

NETWORKS = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)


def test_the_divergence_by_hand() -> None:
    # 1/2 (mean^2 + variance - 1 - log variance), summed.
    means = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    variances = torch.tensor([[1.0, 1.0], [1.0, 4.0]])
    expected = [0.0, (1 + 4 + 4 - 1 - np.log(4)) / 2]
    assert divergence(means, variances.log()).tolist() == pytest.approx(expected)


@given(st.integers(0, 2**31 - 1))
def test_the_divergence_is_that_of_the_distributions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 3, 5, generator=generator)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)
    )
    torch.testing.assert_close(divergence(mean, log_variance), expected.sum(1))


def test_the_reconstruction_is_the_gaussian_s() -> None:
    x, made = images(2), torch.zeros(2, 1, 32, 32)
    expected = (x.numpy() ** 2).sum((1, 2, 3)) / 2
    np.testing.assert_allclose(reconstruction(x, made).numpy(), expected, rtol=1e-5)


def test_the_loss_is_of_the_sample_and_the_score_of_the_mean() -> None:
    learner = VaeLearner(VaeStep(networks=NETWORKS), seed=0)
    (vae,) = learner.trained.values()
    assert isinstance(vae, Vae)
    vae.eval()
    x, noise = images(4), torch.randn(4, 8)
    with torch.no_grad():
        mean, log_variance = vae.encoder(x)[0].split(8, 1)
        z = mean + noise * torch.exp(log_variance / 2)
        sampled = reconstruction(x, vae.decoder(z)) + divergence(mean, log_variance)
        at_mean = reconstruction(x, vae.decoder(mean)) + divergence(mean, log_variance)
        (objective,) = learner.objectives()
        terms, _ = objective({"x": x, NOISE: noise})
        torch.testing.assert_close(terms[LOSS], sampled.mean())
        torch.testing.assert_close(terms["rec"] + terms["kl"], terms[LOSS])
        torch.testing.assert_close(learner.scorer()(x), at_mean)


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of both, the head of 2 Z numbers, and the first layer of Z.
        (WIDE, 2 * (656_384 + 896) + 16 * 256 * (2 * 64 + 64), 34_979_840),
        ((1, 2, 4), 2 * (176 + 14) + 16 * 4 * (2 * 64 + 64), 30_464),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    step = VaeStep(networks=ConvNetworks(channels=1, widths=widths, latent=64))
    found = complexity(step.detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def test_lanes_train_as_alone() -> None:
    assert_lanes_are_as_alone(lambda place: VaeLearner(VaeStep(networks=NETWORKS), place))


def test_recipes_by_name() -> None:
    assert VaeSettings.model_validate({}).training.batch_size == 64
    paper = VaeSettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.training.epochs, paper.training.batch_size) == (3, 100)
