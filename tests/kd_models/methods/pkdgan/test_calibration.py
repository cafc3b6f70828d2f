"""The calibrated score: what it is made of, what it costs, and that it trains nothing."""

import numpy as np
import pytest
import torch

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import PackContext, Step
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.gradients import GradientHistograms
from kd_models.methods.networks import Widths
from kd_models.methods.pkdgan.calibration import CalibrationStep
from kd_models.methods.pkdgan.scores import CalibratedNetwork
from kd_models.methods.pkdgan.settings import PkdganSettings
from kd_models.methods.prototypes import PrototypeSettings
from kd_models.world import World

STUDENT = NetworkConfig(channels=1, widths=(1, 2, 4))


def images(count: int, channels: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, channels, 32, 32, generator=generator) * 2 - 1


def calibration(config: NetworkConfig = STUDENT, **settings: float) -> CalibrationStep:
    own = PrototypeSettings.model_validate({"prototypes": 20, **settings})
    return CalibrationStep(structure="kdgan-1", role="student", network=config, calibration=own)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_it_is_the_distance_to_the_nearest_prototype_in_whitened_features(strength: float) -> None:
    torch.manual_seed(0)
    generator = STUDENT.generator().eval()
    # As many prototypes as images: each image is one.
    step = calibration(prototypes=50, components=400, whitening=strength)
    learner = step.learner(0, PackContext())
    learner.load({"student.generator": generator.state_dict()})
    learner.fit(images(50), World())
    learner.calibrate(images(50), World())

    def features(x: torch.Tensor) -> np.ndarray:
        _, seen = generator.encoder(x)
        blocks = [seen.flatten(1), GradientHistograms(32)(x)]
        scaled = [b.double().numpy() / scale for b, scale in zip(blocks, scales, strict=True)]
        return np.concatenate(scaled, 1)

    with torch.no_grad():
        scales = [1.0, 1.0]
        raw = features(images(50))
        scales = [part.std(0).mean() for part in np.split(raw, [64], 1)]
        known = features(images(50))
        covariance = 0.99 * np.cov(known.T, bias=True)
        covariance += 0.01 * np.eye(320) * np.trace(covariance) / 0.99 / 320
        variances, directions = np.linalg.eigh(covariance)
        white = directions * variances ** (-strength / 2)
        away = (features(images(20))[:, None] - known) @ white
    expected = np.linalg.norm(away, axis=2).min(1)
    found = learner.score(images(20), World()).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_where_features_are_many_the_latent_is_taken() -> None:
    for widths, seen in (((8, 16, 64), 256), ((4, 8, 16), 256), ((1, 2, 4), 64)):
        config = NetworkConfig(channels=3, widths=widths)
        network = CalibratedNetwork(config, PrototypeSettings())
        with torch.no_grad():
            assert network.features(images(2, 3)).shape == (2, seen + 256)


@pytest.mark.parametrize(
    ("channels", "widths", "params", "flops"),
    [
        # The encoder's features; of F numbers a mean, a scale and a matrix for 128 components, with
        # a length of each and one of the rest; 64 prototypes of 129 numbers; four directions that
        # are pooled, as fvcore counts it. F is 320, 384 and 512, of the latent not the features.
        (1, (1, 2, 4), 190 + 130 * 320 + 8_385, 9_088 + 128 * 320 + 12_352),
        (1, (2, 4, 8), 700 + 130 * 384 + 8_385, 26_368 + 128 * 384 + 12_352),
        (3, (8, 16, 64), 843_408 // 3 + 130 * 512 + 8_385, 2_285_568 // 3 + 128 * 512 + 12_352),
    ],
)
def test_what_it_costs(channels: int, widths: Widths, params: int, flops: int) -> None:
    config = NetworkConfig(channels=channels, widths=widths)
    network = CalibratedNetwork(config, PrototypeSettings())
    found = complexity(network, torch.zeros(1, channels, 32, 32))
    assert (found.params, found.flops) == (params, flops)


def chains(**settings: object) -> dict[str, list[Step]]:
    own = PkdganSettings.model_validate(settings)
    return {
        f"{variant.axes['structure']} {variant.axes['score']}": [step for step, _ in variant.steps]
        for variant in own.variants(dataset_row("fmnist"), None, None)
    }


def test_both_scores_share_all_training() -> None:
    found = chains(structures=("teacher", "kdgan-1", "p-kdgan-23"), scores=("paper", "calibrated"))
    for structure in ("teacher", "kdgan-1", "p-kdgan-23"):
        *trained, last = found[f"{structure} calibrated"]
        assert trained == found[f"{structure} paper"]
        assert isinstance(last, CalibrationStep)
        assert last.kind == trained[-1].kind == ("teacher" if structure == "teacher" else "student")
        assert last.network.widths == ((64, 128, 256) if structure == "teacher" else (1, 2, 4))


def test_a_detector_takes_what_the_step_stored() -> None:
    step = calibration()
    learner = step.learner(0, PackContext())
    learner.load({"student.generator": STUDENT.generator().state_dict()})
    learner.calibrate(images(50), World())
    scorer = step.detector.scorer()
    scorer.load(learner.trained[DETECTOR].state_dict())
    with torch.no_grad():
        found = scorer.eval()(images(7))
    torch.testing.assert_close(found, learner.score(images(7), World()))
