import pytest
import torch
from torch import Tensor, nn

from kd_models.methods.ganomaly.networks import Generator
from kd_models.methods.networks import LATENT, Decoder, Discriminator, Encoder, Normalisation

NORMALISATIONS: tuple[Normalisation, ...] = ("batch", "per-image")
WIDTHS = (1, 2, 4)


def images(count: int, channels: int = 1, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return scale * (torch.rand(count, channels, 32, 32, generator=generator) * 2 - 1)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_generator_returns_two_latents_and_an_image(
    channels: int, normalisation: Normalisation
) -> None:
    made = Generator(channels, WIDTHS, normalisation)(images(2, channels))
    assert made.z1_BZ.shape == (2, LATENT) == (2, 256)
    assert made.x_hat_BCSS.shape == (2, channels, 32, 32)
    assert made.z2_BZ.shape == (2, 256)


def test_the_parts_are_chained_as_in_figure_2() -> None:
    generator, x = Generator(1, WIDTHS, "per-image"), images(2)
    made = generator(x)
    torch.testing.assert_close(made.z1_BZ, generator.encoder(x)[0])
    torch.testing.assert_close(made.x_hat_BCSS, generator.decoder(made.z1_BZ))
    torch.testing.assert_close(made.z2_BZ, generator.re_encoder(made.x_hat_BCSS)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_discriminator_returns_a_logit_and_the_features_before_it(channels: int) -> None:
    discriminator = Discriminator(channels, WIDTHS)
    logit, features = discriminator(images(2, channels))
    assert logit.shape == (2, 1)
    assert features.shape == (2, WIDTHS[-1], 4, 4)
    torch.testing.assert_close(logit, discriminator.head(features).flatten(1))


def test_an_image_stays_within_minus_one_and_one_however_large_the_latent() -> None:
    decoder = Decoder(1, WIDTHS, "batch")
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, 0.0, 3.0)
    x_hat = decoder(100 * torch.randn(4, LATENT))
    assert x_hat.abs().max() <= 1
    # Not merely clipped at zero (a sigmoid, a ReLU): both ends are reached.
    assert x_hat.min() < -0.9
    assert x_hat.max() > 0.9


def test_a_latent_and_a_logit_are_bare() -> None:
    x = images(4)
    for encoder in (Encoder(1, WIDTHS, LATENT, "per-image"), Discriminator(1, WIDTHS, "per-image")):
        before, _ = encoder(x)
        # Proportional to the last weights: nothing bounds or cuts it. A power of two is exact.
        encoder.head.weight.data *= -1024
        assert torch.equal(encoder(x)[0], -1024 * before)


def test_features_are_leaky() -> None:
    features = Discriminator(1, WIDTHS)(images(4))[1].detach()
    negative, positive = features[features < 0], features[features > 0]
    assert len(negative) > 0
    # BatchNorm leaves both sides about equally wide; the slope of 0.2 narrows the negative.
    assert 0.1 < float(negative.abs().mean() / positive.mean()) < 0.4


@pytest.mark.parametrize("training", [True, False])
def test_per_image_normalisation_does_not_see_the_rest_of_the_batch(training: bool) -> None:
    network = Generator(1, WIDTHS, "per-image").train(training)
    x = images(4)
    whole, alone = network(x), network(x[:1])
    for part, own in zip(whole, alone, strict=True):
        torch.testing.assert_close(part[:1], own, rtol=1e-4, atol=1e-6)


def test_per_image_normalisation_scores_with_what_it_trains_with() -> None:
    network, x = Generator(1, WIDTHS, "per-image"), images(4)
    trained = network.train()(x).z1_BZ
    torch.testing.assert_close(network.eval()(x).z1_BZ, trained, rtol=0, atol=0)


def test_batch_normalisation_sees_the_rest_of_the_batch_in_training_only() -> None:
    network = Generator(1, WIDTHS, "batch")
    x = images(4) * torch.tensor([0.1, 0.3, 0.6, 1.0])[:, None, None, None]
    whole, alone = network.train()(x).z1_BZ[:1], network.train()(x[:1]).z1_BZ
    assert (whole - alone).abs().max() > 0.1 * whole.abs().max()
    network.eval()
    torch.testing.assert_close(network(x).z1_BZ[:1], network(x[:1]).z1_BZ, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_the_initialisation_is_ganomaly_s(
    network: type[nn.Module], normalisation: Normalisation
) -> None:
    torch.manual_seed(0)
    made = network(3, (8, 16, 64), normalisation)
    kernels = [m.weight for m in made.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm2d | nn.InstanceNorm2d)]
    assert len(kernels) == {Generator: 12, Discriminator: 4}[network]
    assert len(norms) == {Generator: 9, Discriminator: 3}[network]
    for kernel in kernels:
        # 384 weights in the smallest: torch's own initialisation is 0.08 wide there.
        assert kernel.std().item() == pytest.approx(0.02, rel=0.15)
        assert kernel.mean().abs() < 0.004
    scales = torch.cat([norm.weight for norm in norms])
    assert scales.mean().item() == pytest.approx(1.0, abs=0.02)
    # Neither torch's own ones nor the convolutions' spread around zero.
    assert scales.std().item() == pytest.approx(0.02, rel=0.3)
    assert all(norm.bias.eq(0).all() for norm in norms)


def test_no_convolution_has_a_bias() -> None:
    generator = Generator(3, WIDTHS)
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [m.bias for m in convolutions] == [None] * 12
