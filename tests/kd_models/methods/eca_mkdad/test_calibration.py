"""The calibrated score of ECA_MKDAD: standardised logarithms of both parts of Eq. 13."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_models.data import dataset_row
from kd_models.methods.base import CannotTrain, PackContext, StateDict
from kd_models.methods.eca_mkdad.calibration import FeatureCalibration
from kd_models.methods.eca_mkdad.scores import CalibratedStudent, StudentConfig
from kd_models.methods.eca_mkdad.settings import EcaMkdadSettings
from kd_models.methods.fitted import DETECTOR
from kd_models.world import World

DrawImages = Callable[..., Tensor]
STEP = FeatureCalibration(
    student=StudentConfig(placement="eca"), scoring_layers=(3, 4), teacher="0" * 64, images=6
)


@pytest.fixture
def images(draw_images: DrawImages) -> Tensor:
    """Twelve, of different contrast."""
    return draw_images(12, channels=3) * torch.linspace(0.2, 1, 12).view(-1, 1, 1, 1)


@pytest.fixture
def learner(teacher_weights: StateDict, images: Tensor) -> Any:
    torch.manual_seed(0)
    made = STEP.learner(0, PackContext(teacher_weights))
    made.load({"student": STEP.student.network().state_dict()})
    made.fit(images, World())
    made.calibrate(images, World())
    return made


def test_it_is_how_far_logarithms_are_from_those_of_normal_images(
    learner: Any, images: Tensor
) -> None:
    scorer = learner.scorer()

    @torch.no_grad()
    def logs(x: Tensor) -> np.ndarray:
        rows = []
        for layer in (3, 4):
            t, s = (
                net(x)[layer - 1].flatten(1).double() for net in (scorer.teacher, scorer.student)
            )
            value = ((t - s) ** 2).mean(1)
            cosine = (t * s).sum(1) / (t.norm(dim=1) * s.norm(dim=1))
            rows += [value.log().numpy(), (1 - cosine).log().numpy()]
        return np.stack(rows, 1)

    chosen = images[torch.linspace(0, 11, 6).round().long()]
    normal = logs(chosen)
    expected = ((logs(images) - normal.mean(0)) / normal.std(0)).sum(1)
    found = learner.score(images, World()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=2e-2)


def test_kept_maps_of_the_teacher_score_the_same(learner: Any, images: Tensor) -> None:
    kept = learner.scoring_targets(images, World())
    assert kept
    live = learner.score(images, World())
    torch.testing.assert_close(learner.score(images, World(), kept), live, rtol=1e-3, atol=1e-3)


def test_a_detector_takes_what_the_step_stored(
    learner: Any, images: Tensor, teacher_weights: StateDict
) -> None:
    scorer = STEP.detector.scorer()
    scorer.load(learner.trained[DETECTOR].state_dict(), teacher_weights)
    with torch.no_grad():
        found = scorer.eval()(images)
        maps = scorer.maps(images[:1])
    torch.testing.assert_close(found, learner.score(images, World()), rtol=1e-3, atol=1e-3)
    assert maps.keys() == {3, 4}


def test_both_scores_share_the_training() -> None:
    own = EcaMkdadSettings.model_validate({"scores": ("paper", "calibrated")})
    paper, calibrated = own.variants(dataset_row("digits"), None, "0" * 64)
    assert calibrated.steps[:1] == paper.steps
    last, recipe = calibrated.steps[-1]
    assert isinstance(last, FeatureCalibration)
    assert recipe is None
    assert last.pretrained_sha256 == "0" * 64
    assert [last.seed_of(seed) for seed in (0, 5)] == [0, 0]


def test_a_distance_that_never_varies_is_refused() -> None:
    with pytest.raises(CannotTrain, match="for every training image"):
        CalibratedStudent(STEP.student.network(), 1).fit(torch.ones(5, 2))
