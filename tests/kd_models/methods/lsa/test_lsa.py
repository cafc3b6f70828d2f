"""AND against its paper's formulas, written again in NumPy."""

import numpy as np
import pytest
import torch
from lanes import assert_lanes_are_as_alone, images
from torch import Tensor

from kd_models.evaluation.cost import complexity
from kd_models.methods.base import CannotTrain, Learner
from kd_models.methods.errors import squared_error
from kd_models.methods.lsa.estimator import Estimator, EstimatorSettings, MaskedLinear
from kd_models.methods.lsa.losses import smooth_surprisal, surprisal
from kd_models.methods.lsa.settings import LsaSettings
from kd_models.methods.lsa.step import Lsa, LsaLearner, LsaStep
from kd_models.methods.networks import WIDE, ConvNetworks, Widths
from kd_models.methods.objectives import LOSS
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.world import World

NETWORKS = ConvNetworks(channels=1, widths=(1, 2, 4), latent=8)
SMALL = EstimatorSettings(layers=2, features=3, bins=10)
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.01)


def step(nll_weight: float = 1.0) -> LsaStep:
    return LsaStep(networks=NETWORKS, estimator=SMALL, nll_weight=nll_weight)


def network_of(learner: Learner) -> Lsa:
    (network,) = learner.trained.values()
    assert isinstance(network, Lsa)
    return network


def latents(count: int) -> Tensor:
    return torch.rand(count, 8, generator=torch.Generator().manual_seed(count))


def logits(count: int) -> Tensor:
    return torch.randn(count, 8, 10, generator=torch.Generator().manual_seed(count))


def log_probabilities(logits_BZK: Tensor) -> np.ndarray:
    exponentials = np.exp(logits_BZK.double().numpy())
    return np.asarray(np.log(exponentials / exponentials.sum(2, keepdims=True)))


# The estimator


def test_the_masks_by_hand() -> None:
    # Two features in, one out, of each of three numbers.
    first, later = (MaskedLinear(kind, 3, 2, 1).weight != 0 for kind in ("A", "B"))
    assert first.tolist() == [
        [False, False, False, False, False, False],
        [True, True, False, False, False, False],
        [True, True, True, True, False, False],
    ]
    assert later.tolist() == [
        [True, True, False, False, False, False],
        [True, True, True, True, False, False],
        [True, True, True, True, True, True],
    ]


@pytest.mark.parametrize("training", [True, False])
def test_a_number_s_distribution_depends_on_those_before_it_alone(training: bool) -> None:
    torch.manual_seed(0)
    estimator = Estimator(8, SMALL).train(training)
    jacobian = torch.autograd.functional.jacobian(estimator, latents(1))[0, :, :, 0]
    sees = (jacobian != 0).any(1)
    assert torch.equal(sees, torch.ones(8, 8).tril(-1).bool())


def test_what_is_masked_stays_zero() -> None:
    learner = LsaLearner(step(), seed=0)
    train(learner, images(8), RECIPE, 0)
    estimator = network_of(learner).estimator
    for layer in estimator.modules():
        if isinstance(layer, MaskedLinear):
            masked = torch.ones_like(layer.weight).view(layer._blocks) * (1 - layer._mask)
            assert masked.sum() > 0
            assert not (layer.weight * masked.view_as(layer.weight)).any()
    masking, deployed = (estimator.train(training)(latents(4)) for training in (True, False))
    torch.testing.assert_close(masking, deployed)


def test_the_paper_s_estimator_has_four_layers_of_32_features_and_one_of_100_bins() -> None:
    paper = LsaSettings.model_validate({"recipe": "paper"}).estimator
    layers = [m for m in Estimator(64, paper).modules() if isinstance(m, MaskedLinear)]
    assert [layer.in_features // 64 for layer in layers] == [1, 32, 32, 32, 32]
    assert [layer.out_features // 64 for layer in layers] == [32, 32, 32, 32, 100]


# Both parts


def test_the_reconstruction_is_the_squared_error() -> None:
    x = images(2)
    expected = (x.numpy() ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(squared_error(x, torch.zeros_like(x)).numpy(), expected, rtol=1e-5)


def test_the_surprisal_is_the_paper_s_cross_entropy_but_for_a_constant() -> None:
    z = latents(5)
    z[0, :2] = torch.tensor([0.0, 1.0])  # the first bin, and the last
    each = log_probabilities(logits(5))
    bins = np.minimum((z.numpy() * 10).astype(int), 9)
    paper = -np.take_along_axis(each, bins[..., None], 2).sum((1, 2))
    found = surprisal(z, logits(5)).numpy()
    np.testing.assert_allclose(found + 8 * np.log(10), paper, rtol=1e-5)


def test_where_all_bins_are_alike_the_surprisal_is_zero() -> None:
    for of in (surprisal, smooth_surprisal):
        assert of(latents(3), torch.zeros(3, 8, 10)).abs().max() < 1e-5


def test_the_smooth_surprisal_by_hand() -> None:
    # Bins from 0 to 1/2 and on to 1, of probabilities 1/4 and 3/4: of densities 1/2 and 3/2.
    places = torch.tensor([[0.0], [0.25], [0.375], [0.5], [0.75], [1.0]])
    bins = torch.tensor([1.0, 3.0]).log().expand(6, 1, 2)
    low, high = -np.log(0.5), -np.log(1.5)
    expected = [low, low, 0.75 * low + 0.25 * high, (low + high) / 2, high, high]
    assert smooth_surprisal(places, bins).tolist() == pytest.approx(expected)


def test_in_the_middle_of_bins_both_surprisals_are_one() -> None:
    z = (torch.arange(8) + 0.5)[None] / 10
    torch.testing.assert_close(smooth_surprisal(z, logits(1)), surprisal(z, logits(1)))


def test_beyond_a_bin_s_border_the_score_is_nearly_the_same() -> None:
    below, above = torch.full((1, 8), 0.4 - 1e-6), torch.full((1, 8), 0.4 + 1e-6)
    assert (surprisal(below, logits(1)) - surprisal(above, logits(1))).abs() > 0.1
    torch.testing.assert_close(
        smooth_surprisal(below, logits(1)), smooth_surprisal(above, logits(1)), rtol=0, atol=1e-3
    )


def test_a_latent_that_is_not_finite_is_a_loss_that_is_not() -> None:
    z = torch.full((1, 8), torch.nan)
    estimator = Estimator(8, SMALL)
    for of in (surprisal, smooth_surprisal):
        assert of(z, estimator(z)).isnan().all()


def test_the_gradient_reaches_the_encoder_through_the_estimator_alone() -> None:
    z = latents(3).requires_grad_()
    assert not surprisal(z, logits(3)).requires_grad
    torch.manual_seed(0)
    found = Estimator(8, SMALL)(z)
    log_p = found.log_softmax(2)
    target = torch.nn.functional.one_hot((z.detach() * 10).long(), 10)
    (expected,) = torch.autograd.grad(-(log_p * target).sum(), z, retain_graph=True)
    (gradient,) = torch.autograd.grad(surprisal(z, found).sum(), z)
    torch.testing.assert_close(gradient, expected)
    assert gradient.any()


# Loss and score


def test_the_loss_weighs_the_likelihood() -> None:
    learner = LsaLearner(step(nll_weight=0.5), seed=0)
    network = network_of(learner).eval()
    x = images(4)
    with torch.no_grad():
        terms, _ = learner.objectives()[0]({"x": x})
        z = torch.sigmoid(network.encoder(x)[0])
        rec = (x - network.decoder(z)).square().sum((1, 2, 3)).mean()
        nll = surprisal(z, network.estimator(z)).mean()
    torch.testing.assert_close(terms["rec"], rec)
    torch.testing.assert_close(terms["nll"], nll)
    torch.testing.assert_close(terms[LOSS], rec + 0.5 * nll)


def test_the_score_is_the_sum_of_what_normal_images_normalise() -> None:
    learner = LsaLearner(step(), seed=0)
    x, others = images(20), images(5, seed=1)
    network = network_of(learner)
    # Untrained, it maps all images to nearly one latent: rounding would be all there is.
    train(learner, x, RECIPE.model_copy(update={"epochs": 10}), 0)
    learner.calibrate(x, World())
    assert (network.span > 1).all()

    def parts(of: Tensor) -> np.ndarray:
        with torch.no_grad():
            z = network.encoder(of)[0].sigmoid()
            rec = (of - network.decoder(z)).square().sum((1, 2, 3)).numpy()
            log_p = log_probabilities(network.estimator(z)) + np.log(10)
        nll = np.zeros(len(of))
        for image, own in enumerate(z.double().numpy()):
            for number, place in enumerate(own):
                nll[image] -= np.interp(place, (np.arange(10) + 0.5) / 10, log_p[image, number])
        return np.stack([rec, nll])

    normal = parts(x)
    low, high = normal.min(1, keepdims=True), normal.max(1, keepdims=True)
    expected = ((parts(others) - low) / (high - low)).sum(0)
    np.testing.assert_allclose(learner.score(others, World()).numpy(), expected, rtol=1e-4)
    own = learner.score(x, World())
    assert -1e-5 <= own.min() <= own.max() <= 2 + 1e-5


def test_images_that_are_all_alike_cannot_normalise() -> None:
    learner = LsaLearner(step(), seed=0)
    with pytest.raises(CannotTrain, match="same for all training images"):
        learner.calibrate(images(1), World())


@pytest.mark.parametrize(
    ("widths", "params", "flops"),
    [
        # Convolutions and norms of both, the head of Z numbers, and the first layer of Z.
        (WIDE, 2 * (656_384 + 896) + 16 * 256 * 2 * 64, 38_813_696),
        ((1, 2, 4), 2 * (176 + 14) + 16 * 4 * 2 * 64, 4_122_368),
    ],
)
def test_what_it_costs(widths: Widths, params: int, flops: int) -> None:
    # Of Z = 64 numbers with F = 8 features and K = 100 bins each: weights Z F to Z, three times Z F
    # to Z F, and Z F to Z K, what is masked among them; and biases.
    estimator = 64 * 64 * (8 + 3 * 8 * 8 + 8 * 100) + 64 * (4 * 8 + 100)
    [(made, _)] = LsaSettings.model_validate({}).chain(
        ConvNetworks(channels=1, widths=widths, latent=64)
    )
    found = complexity(made.detector.scorer(), torch.zeros(1, 1, 32, 32))
    assert (found.params, found.flops) == (params + estimator, flops)


def test_recipes_by_name() -> None:
    recommended = LsaSettings.model_validate({})
    assert (recommended.estimator.features, recommended.training.batch_size) == (8, 64)
    paper = LsaSettings.model_validate({"recipe": "paper", "training": {"epochs": 3}})
    assert (paper.training.epochs, paper.training.batch_size) == (3, 256)
    assert paper.estimator == EstimatorSettings(layers=4, features=32, bins=100)
    assert (paper.latent, paper.nll_weight) == (64, 4)


def test_lambda_is_the_paper_s_once_images_are_scaled_as_there() -> None:
    x, made = images(3), images(3, seed=1)
    here = squared_error(x, made) + 4 * surprisal(latents(3), logits(3))
    there = squared_error((x + 1) / 2, (made + 1) / 2) + surprisal(latents(3), logits(3))
    torch.testing.assert_close(here, 4 * there)


# Lanes


def test_lanes_train_and_score_as_alone() -> None:
    steps = [step(weight) for weight in (1.0, 0.0, 3.0)]
    assert len({one.lane_group for one in steps}) == 1
    assert_lanes_are_as_alone(
        lambda place: LsaLearner(steps[place], place),
        RECIPE,
        rtol=1e-3,
        atol=1e-4,
        scores={"rtol": 1e-2, "atol": 1e-2},
    )
