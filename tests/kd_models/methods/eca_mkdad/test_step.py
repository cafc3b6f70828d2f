import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from kd_models.methods.base import MemoryBudget, PackContext
from kd_models.methods.distilled import check_layers
from kd_models.methods.eca_mkdad.placements import PLACEMENTS
from kd_models.methods.eca_mkdad.scores import FeatureDetector, StudentConfig
from kd_models.methods.eca_mkdad.step import DistilConfig, DistilLearner
from kd_models.methods.fixed_teacher import kept_bytes
from kd_models.methods.vgg16 import (
    STUDENT_BLOCKS,
    VGG16,
    StudentWidth,
    Teacher,
    tap_shapes,
)
from kd_models.recipe import Recipe
from kd_models.training.epochs import train
from kd_models.training.state import TrainingState
from kd_models.world import World

Weights = dict[str, dict[str, Tensor]]
WeightsOf = Callable[[dict[str, nn.Module]], Weights]
Changed = Callable[[Weights, Weights], set[str]]
DrawImages = Callable[..., Tensor]
MakeLearner = Callable[..., DistilLearner]
StateDict = Mapping[str, Tensor]
Measured = dict[str, Any]

TWO_EPOCHS = Recipe(epochs=2, batch_size=4, lr=0.01)
IMAGE_BYTES = 4 * (128 * 8 * 8 + 256 * 4 * 4 + 512 * 2 * 2 + 512)
"""of the maps of layers 2 to 5 of an image of 32 x 32"""
SCORING_BYTES = 4 * (256 * 4 * 4 + 512 * 2 * 2 + 512)


class Stopped(Exception):
    """The process is killed here."""


@pytest.fixture
def make_learner(teacher_weights: StateDict) -> MakeLearner:
    def make(
        placement: str = "eca", seed: int = 0, cache_bytes: int | None = None, **changes: Any
    ) -> DistilLearner:
        settings: dict[str, Any] = {
            "student": StudentConfig(placement=placement),
            "lambda_": 0.5,
            "teacher": "0" * 64,
        }
        return DistilLearner(
            DistilConfig(**(settings | changes)),
            seed,
            PackContext(teacher_weights, MemoryBudget(cache_bytes)),
        )

    return make


@pytest.fixture
def images(draw_images: DrawImages) -> Tensor:
    """Eight, of different contrast."""
    return draw_images(8, channels=3) * torch.linspace(0.2, 1, 8).view(-1, 1, 1, 1)


def teacher_of(learner: DistilLearner) -> Teacher:
    teacher = learner.scorer().teacher
    assert isinstance(teacher, Teacher)
    return teacher


def student_of(learner: DistilLearner) -> nn.Module:
    return learner.trained["student"]


def equation_13(
    teacher_maps: Sequence[Tensor],
    student_maps: Sequence[Tensor],
    layers: Sequence[int],
    lambda_: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The values and, weighted, the directions of every image, summed over layers, each (B,)."""
    values, directions = np.zeros(len(teacher_maps[0])), np.zeros(len(teacher_maps[0]))
    for layer in layers:
        pairs = zip(
            teacher_maps[layer - 1].numpy(), student_maps[layer - 1].detach().numpy(), strict=True
        )
        for image, (t, s) in enumerate(pairs):
            t, s = t.astype(np.float64).ravel(), s.astype(np.float64).ravel()
            values[image] += ((t - s) ** 2).mean()
            cosine = (t @ s) / np.sqrt((t @ t) * (s @ s))
            directions[image] += lambda_ * (1 - cosine)
    return values, directions


# Settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "scoring", "width", "words"),
    [
        ((2, 6), (2,), "full", r"^training_layers is \[2, 6\]; expected some of .*\[1, 2, 3, 4, 5"),
        ((0, 2), (2,), "full", r"^training_layers is \[0, 2\]"),
        ((2, 2, 3), (2,), "full", r"^training_layers is \[2, 2, 3\].*each once$"),
        ((2, 3), (7,), "full", r"^scoring_layers is \[7\]"),
        ((2, 3), (3, 3), "full", r"^scoring_layers is \[3, 3\]"),
        ((2, 4), (4, 5, 3), "full", r"^scoring_layers has 3, which training_layers \[2, 4\] lacks"),
        ((1, 2), (2,), "lightweight", r"^training_layers has 1, .* 16 channels .* width full$"),
    ],
)
def test_layers_that_do_not_fit(
    training: tuple[int, ...], scoring: tuple[int, ...], width: StudentWidth, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        check_layers(training, scoring, width)
    with pytest.raises(ValidationError, match=words.removeprefix("^").removesuffix("$")):
        DistilConfig(
            student=StudentConfig(placement="eca", width=width),
            lambda_=0.01,
            training_layers=training,
            scoring_layers=scoring,
            teacher="",
        )


@pytest.mark.parametrize(
    ("training", "scoring", "width"),
    [
        ((2, 3, 4, 5), (3, 4, 5), "lightweight"),
        ((2,), (2,), "lightweight"),
        ((5, 3), (3, 5), "lightweight"),
        ((1, 2, 3, 4, 5), (1, 5), "full"),
    ],
)
def test_layers_that_fit(
    training: tuple[int, ...], scoring: tuple[int, ...], width: StudentWidth
) -> None:
    check_layers(training, scoring, width)


@pytest.mark.parametrize("changes", [{"lambda_": -0.1}, {"training_layers": ()}, {"x": 1}])
def test_a_step_that_cannot_be_is_rejected(changes: dict[str, object]) -> None:
    settings = {"student": {"placement": "eca"}, "lambda_": 0.1, "teacher": "0"}
    DistilConfig.model_validate(settings)
    with pytest.raises(ValidationError):
        DistilConfig.model_validate(settings | changes)


def test_a_step_and_its_detector_are_what_they_were_after_json(make_learner: MakeLearner) -> None:
    config = make_learner("se", precision="float16", scoring_layers=(5,)).config
    assert DistilConfig.model_validate_json(config.model_dump_json()) == config
    detector = config.detector
    assert FeatureDetector.model_validate_json(detector.model_dump_json()) == detector
    assert (detector.layers, detector.lambda_, detector.channels) == ((5,), 0.5, 3)
    assert config.pretrained_sha256 == detector.pretrained_sha256 == "0" * 64


def test_a_step_makes_its_learner(teacher_weights: StateDict, make_learner: MakeLearner) -> None:
    config = make_learner("scse").config
    learner = config.learner(3, PackContext(teacher_weights, MemoryBudget(0)))
    same = make_learner("scse", seed=3)
    for name, tensor in student_of(learner).state_dict().items():
        assert torch.equal(tensor, student_of(same).state_dict()[name])
    assert learner.targets(torch.zeros(1, 3, 32, 32), World()) == {}
    assert set(learner.trained) == {config.scored}


# Loss and score -----------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [0.1, 0.5, 3.0])
def test_a_score_is_equation_13_over_the_scoring_layers(
    lambda_: float, make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(lambda_=lambda_)
    with torch.no_grad():
        student_of(learner)(images)  # running averages other than those it starts with
        teacher_maps, student_maps = teacher_of(learner)(images), student_of(learner).eval()(images)
    values, directions = equation_13(teacher_maps, student_maps, (3, 4, 5), lambda_)
    scores = learner.score(images, World(), {})
    assert scores.shape == (8,)
    np.testing.assert_allclose(scores.numpy(), values + directions, rtol=1e-5)
    # Both parts are large enough to be missed.
    assert (values > 0.01 * scores.numpy()).all()
    assert (directions > 1e-3 * scores.numpy()).all()


def test_the_loss_is_the_mean_of_equation_13_over_the_training_layers(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner()
    with torch.no_grad():
        teacher_maps, student_maps = (
            teacher_of(learner)(images),
            student_of(learner).train()(images),
        )
    values, directions = equation_13(teacher_maps, student_maps, (2, 3, 4, 5), 0.5)
    (objective,) = learner.objectives()
    terms, made = objective({"x": images})
    assert made == {}
    assert terms["loss"].item() == pytest.approx((values + directions).mean(), rel=1e-5)
    layers = [2, 3, 4, 5]
    assert list(terms) == [f"{part}/{i}" for i in layers for part in ("value", "direction")] + [
        "loss"
    ]
    for layer in layers:
        value, direction = equation_13(teacher_maps, student_maps, (layer,), 1.0)
        assert terms[f"value/{layer}"].item() == pytest.approx(value.mean(), rel=1e-5)
        assert terms[f"direction/{layer}"].item() == pytest.approx(direction.mean(), rel=1e-4)


def test_the_order_of_layers_means_nothing() -> None:
    one, other = (
        DistilConfig(
            student=StudentConfig(placement="eca"),
            lambda_=0.1,
            training_layers=training,
            scoring_layers=scoring,
            teacher="",
        )
        for training, scoring in (((2, 3, 4), (3, 4)), ((4, 2, 3), (4, 3)))
    )
    assert one == other
    assert other.scoring_layers == (3, 4)


@pytest.mark.parametrize("scoring", [(2,), (5,), (2, 5)])
def test_which_layers_count_is_a_setting(
    scoring: tuple[int, ...], make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(training_layers=(2, 5), scoring_layers=scoring)
    with torch.no_grad():
        teacher_maps, student_maps = teacher_of(learner)(images), student_of(learner).eval()(images)
    expected = sum(equation_13(teacher_maps, student_maps, scoring, 0.5))
    kept = learner.scoring_targets(images, World())
    assert list(kept) == [f"target/{layer}" for layer in scoring]
    for targets in ({}, kept):
        found = learner.score(images, World(), targets)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    terms, _ = learner.objectives()[0]({"x": images})
    assert set(terms) == {"value/2", "direction/2", "value/5", "direction/5", "loss"}


def test_with_lambda_0_the_direction_is_told_but_neither_scored_nor_minimised(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(lambda_=0.0)
    (objective,) = learner.objectives()
    terms, _ = objective({"x": images})
    values = [term for name, term in terms.items() if name.startswith("value/")]
    assert terms["loss"].item() == pytest.approx(sum(value.item() for value in values), rel=1e-6)
    assert all(terms[f"direction/{layer}"] > 0.01 for layer in (2, 3, 4, 5))
    parameters = list(objective.parameters())
    found = torch.autograd.grad(terms["loss"], parameters, retain_graph=True)
    expected = torch.autograd.grad(torch.stack(values).sum(), parameters)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    with torch.no_grad():
        teacher_maps, student_maps = teacher_of(learner)(images), student_of(learner).eval()(images)
    scores = learner.score(images, World(), {}).numpy()
    np.testing.assert_allclose(
        scores, equation_13(teacher_maps, student_maps, (3, 4, 5), 0)[0], rtol=1e-5
    )


def test_the_maps_are_means_over_channels_of_the_distilled_layers(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(training_layers=(2, 3, 5), scoring_layers=(3, 5))
    scorer = learner.scorer()
    with torch.no_grad():
        maps = scorer.maps(images)
        s, t = scorer.student(images)[2], scorer.teacher(images)[2]
    assert list(maps) == [2, 3, 5]
    assert [part.shape for part in maps[3]] == [(8, 4, 4)] * 3
    # Deployed, it knows those that it scores by.
    assert list(learner.config.detector.scorer().maps(images[:1])) == [3, 5]
    for found, expected in zip(maps[3], (s, t, (s - t).abs()), strict=True):
        torch.testing.assert_close(found, expected.mean(1))


@pytest.mark.parametrize("kept", [False, True])
def test_a_score_depends_on_the_image_alone_and_leaves_the_mode(
    kept: bool, make_learner: MakeLearner, draw_images: DrawImages, images: Tensor
) -> None:
    learner, many = make_learner(), draw_images(32, channels=3, seed=1)
    train(learner, images, TWO_EPOCHS, seed=0)
    student = student_of(learner)
    assert student.training

    def score(x: Tensor) -> Tensor:
        targets = learner.scoring_targets(x, World()) if kept else {}
        return learner.score(x, World(), targets)

    together = score(many)
    assert student.training
    assert together.std() > 0
    with torch.no_grad():
        singly = torch.cat([learner.scorer()(x) for x in many.split(1)])
    alone = torch.cat([score(many[i].clone()[None]) for i in (0, 17, 31)])
    torch.testing.assert_close(singly, together, rtol=1e-5, atol=0)
    torch.testing.assert_close(alone, together[[0, 17, 31]], rtol=1e-5, atol=0)
    student.eval()
    score(many[:1])
    assert not student.training


@pytest.mark.parametrize("kept", [False, True])
def test_of_no_images_there_are_no_scores(kept: bool, make_learner: MakeLearner) -> None:
    learner, none = make_learner(), torch.zeros(0, 3, 32, 32)
    targets = learner.scoring_targets(none, World()) if kept else {}
    assert learner.score(none, World(), targets).shape == (0,)


def test_a_deployed_detector_scores_as_its_learner_does(
    make_learner: MakeLearner, images: Tensor, teacher_weights: StateDict
) -> None:
    learner = make_learner("scse", scoring_layers=(2, 5), lambda_=0.3)
    train(learner, images, TWO_EPOCHS, seed=0)
    deployed = learner.config.detector.scorer().eval()
    deployed.load(student_of(learner).state_dict(), teacher_weights)
    with torch.no_grad():
        found = deployed(images)
    torch.testing.assert_close(found, learner.score(images, World(), {}), rtol=1e-5, atol=0)


# The teacher and what is kept of it ---------------------------------------------------------


def test_fit_changes_the_student_and_never_the_teacher(
    make_learner: MakeLearner,
    images: Tensor,
    teacher_weights: StateDict,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    given = {name: tensor.clone() for name, tensor in teacher_weights.items()}
    for cache_bytes in (None, 0):
        learner = make_learner(cache_bytes=cache_bytes)
        networks = {**learner.trained, "teacher": teacher_of(learner)}
        assert set(learner.trained) == {"student"}
        before = weights_of(networks)
        train(learner, images, TWO_EPOCHS, seed=0)
        learner.score(images, World(), {})
        assert changed(before, weights_of(networks)) == {"student"}
        assert all(p.grad is None and not p.requires_grad for p in networks["teacher"].parameters())
        assert not networks["teacher"].training
        for name, tensor in networks["teacher"].state_dict().items():
            assert torch.equal(tensor, given[name])
            assert torch.equal(teacher_weights[name], given[name])


def test_every_weight_of_the_student_is_trained_and_no_other(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner("eca-null")
    (objective,) = learner.objectives()
    held = [id(p) for p in objective.parameters()]
    assert held == [id(p) for p in student_of(learner).parameters()]
    objective({"x": images})[0]["loss"].backward()
    assert all(p.grad.abs().max() > 0 for p in objective.parameters())


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-5), ("float16", 1e-3)])
def test_targets_are_the_teacher_s_live_maps(
    precision: str, rtol: float, make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(precision=precision)
    found = learner.targets(images, World())
    with torch.no_grad():
        maps = teacher_of(learner)(images)
    assert list(found) == ["target/2", "target/3", "target/4", "target/5"]
    for layer in (2, 3, 4, 5):
        target = found[f"target/{layer}"]
        assert str(target.dtype) == f"torch.{precision}"
        assert target.shape == (8, *tap_shapes(VGG16, 32)[layer - 1])
        assert not target.requires_grad
        torch.testing.assert_close(target.float(), maps[layer - 1], rtol=rtol, atol=rtol)
    scoring = learner.scoring_targets(images, World())
    assert list(scoring) == ["target/3", "target/4", "target/5"]
    assert {target.dtype for target in scoring.values()} == {torch.float32}


def test_targets_stay_with_their_images(make_learner: MakeLearner, images: Tensor) -> None:
    learner = make_learner()
    targets = learner.targets(images, World())
    rows = torch.tensor([6, 0, 3])
    (objective,) = learner.objectives()
    objective.eval()
    batch = {name: target[rows] for name, target in targets.items()}
    kept, _ = objective({"x": images[rows], **batch})
    live, _ = objective({"x": images[rows]})
    other, _ = objective({"x": images[rows.flip(0)], **batch})
    assert kept["loss"].item() == pytest.approx(live["loss"].item(), rel=1e-6)
    assert other["loss"].item() != pytest.approx(live["loss"].item(), rel=1e-4)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_kept_targets_train_the_same_as_live_ones(
    precision: str, make_learner: MakeLearner, images: Tensor
) -> None:
    """Measured bit for bit. Elsewhere the teacher may round otherwise in other batches, and Adam
    makes whole steps of that where a gradient is nearly zero: four of 0.01 were taken."""
    weights, losses = [], []
    for cache_bytes in (None, 0):
        learner = make_learner(precision=precision, cache_bytes=cache_bytes)
        assert (make_learner(cache_bytes=cache_bytes).targets(images, World()) == {}) is (
            cache_bytes == 0
        )
        train(
            learner, images, TWO_EPOCHS, seed=0,
            on_epoch=lambda state, terms: losses.append(terms["loss/0"]),
        )  # fmt: skip
        weights.append(torch.cat([p.detach().flatten() for p in student_of(learner).parameters()]))
    kept, live = weights
    assert (kept - live).abs().mean() < 1e-6
    assert (kept - live).abs().max() < 1e-3
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-5)


def test_half_precision_is_half_precision_whether_kept_or_live(
    make_learner: MakeLearner, images: Tensor
) -> None:
    losses = {}
    for precision in ("float32", "float16"):
        (objective,) = make_learner(precision=precision).objectives()
        objective.eval()
        losses[precision] = objective({"x": images})[0]["loss"].item()
    assert losses["float16"] != losses["float32"]
    assert losses["float16"] == pytest.approx(losses["float32"], rel=1e-3)


def test_a_kept_target_scores_the_same_as_a_live_one(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(precision="float16")
    kept = learner.scoring_targets(images, World())
    assert kept
    found = learner.score(images, World(), kept)
    torch.testing.assert_close(found, learner.score(images, World(), {}), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("layers", "side", "half", "expected"),
    [
        ((2, 3, 4, 5), 32, False, 3 * IMAGE_BYTES),
        ((2, 3, 4, 5), 32, True, 3 * IMAGE_BYTES // 2),
        ((5, 3, 4), 32, False, 3 * SCORING_BYTES),
        ((1,), 33, False, 3 * 4 * 64 * 16 * 16),
        ((5,), 128, True, 3 * 2 * 512 * 4 * 4),
    ],
)
def test_the_bytes_kept_by_hand(
    layers: tuple[int, ...], side: int, half: bool, expected: int
) -> None:
    assert kept_bytes(layers, side, 3, half) == expected


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("side", [32, 45])
def test_the_bytes_kept_are_those_of_the_targets(
    precision: str, side: int, make_learner: MakeLearner
) -> None:
    learner, x = make_learner(precision=precision), torch.zeros(3, 3, side, side)
    half = precision == "float16"
    for found, layers, in_half in (
        (learner.targets(x, World()), (2, 3, 4, 5), half),
        (learner.scoring_targets(x, World()), (3, 4, 5), False),
    ):
        size = sum(target.numel() * target.element_size() for target in found.values())
        assert size == kept_bytes(layers, side, 3, in_half)
        # Nothing else is held by them either.
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in found.values()}
        assert sum(storage.nbytes() for storage in storages.values()) == size


def test_over_budget_the_teacher_runs_live_and_it_is_said(
    make_learner: MakeLearner, caplog: pytest.LogCaptureFixture
) -> None:
    count = 2 * 2**30 // IMAGE_BYTES + 1
    many = torch.zeros(1).expand(count, 3, 32, 32)
    learner = make_learner(cache_bytes=3 * 2**29)
    with caplog.at_level(logging.WARNING, logger="kd_models.methods.fixed_teacher"):
        assert learner.targets(many, World()) == {}
        assert learner.scoring_targets(many[:1], World()) != {}
    (record,) = caplog.records
    assert (record.name, record.levelname) == (
        "kd_models.methods.fixed_teacher",
        "WARNING",
    )
    assert record.getMessage() == (
        "the teacher runs live on the training images: its maps of them would take 2.00 GiB, "
        "more than the 1.50 GiB there are for them (resources.teacher_cache_gib)"
    )


def test_over_budget_for_test_images_they_are_named(
    make_learner: MakeLearner, caplog: pytest.LogCaptureFixture, images: Tensor
) -> None:
    learner = make_learner(cache_bytes=8 * SCORING_BYTES - 1)
    assert learner.scoring_targets(images, World()) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "runs live on the test images" in caplog.text


@pytest.mark.parametrize(
    ("budget", "training", "test", "warnings"),
    [
        (8 * IMAGE_BYTES + 8 * SCORING_BYTES, True, True, 0),
        (8 * IMAGE_BYTES + 8 * SCORING_BYTES - 1, True, False, 1),
        (8 * IMAGE_BYTES - 1, False, True, 1),  # what did not train takes nothing of it
        (None, True, True, 0),
        (0, False, False, 2),
    ],
)
def test_training_and_test_images_share_the_budget(
    budget: int | None,
    training: bool,
    test: bool,
    warnings: int,
    make_learner: MakeLearner,
    images: Tensor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    learner = make_learner(cache_bytes=budget)
    kept = learner.targets(images, World()), learner.scoring_targets(images, World())
    assert tuple(map(bool, kept)) == (training, test)
    assert len(caplog.records) == warnings


# Seeds, states, weights ---------------------------------------------------------------------


def test_the_seed_decides_the_student_s_initial_weights_and_nothing_else(
    make_learner: MakeLearner, images: Tensor
) -> None:
    first, again, other = (make_learner(seed=seed) for seed in (3, 3, 4))
    kernels = 0
    for name, tensor in student_of(first).state_dict().items():
        assert torch.equal(tensor, student_of(again).state_dict()[name])
        if tensor.dim() > 1:
            kernels += 1
            assert not torch.equal(tensor, student_of(other).state_dict()[name])
    assert kernels == 13 + 8
    for name, tensor in teacher_of(first).state_dict().items():
        assert torch.equal(tensor, teacher_of(other).state_dict()[name])
    assert first.config == other.config
    # With the same student the rest is the same.
    other.load({"student": student_of(first).state_dict()})
    for learner in (first, other):
        train(learner, images, TWO_EPOCHS, seed=0)
    scores = [learner.score(images, World(), {}) for learner in (first, other)]
    assert torch.equal(*scores)


def test_making_a_learner_draws_no_random_number_of_its_caller(make_learner: MakeLearner) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_learner(seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_load_starts_from_a_student_and_ignores_what_the_step_lacks(
    make_learner: MakeLearner, weights_of: WeightsOf, changed: Changed
) -> None:
    source, learner = make_learner(seed=1), make_learner(seed=2)
    before = weights_of(learner.trained)
    learner.load({"teacher.generator": {}})
    assert changed(before, weights_of(learner.trained)) == set()
    learner.load({"student": student_of(source).state_dict()})
    assert changed(weights_of(source.trained), weights_of(learner.trained)) == set()


@pytest.mark.parametrize("placement", ["eca", "scse"])
@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_a_run_stopped_and_resumed_equals_one_never_stopped(
    placement: str,
    cache_bytes: int | None,
    tmp_path: Path,
    make_learner: MakeLearner,
    images: Tensor,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    def learner(seed: int) -> DistilLearner:
        return make_learner(placement, seed=seed, cache_bytes=cache_bytes)

    undisturbed, terms_of = learner(0), []
    train(undisturbed, images, TWO_EPOCHS, 0, on_epoch=lambda state, terms: terms_of.append(terms))

    def save_and_stop(state: TrainingState, terms: dict[str, float]) -> None:
        state.save(tmp_path / "state.pt")
        raise Stopped

    with pytest.raises(Stopped):
        train(learner(0), images, TWO_EPOCHS, seed=0, on_epoch=save_and_stop)
    resumed, rest = learner(99), []
    torch.manual_seed(123)
    state = TrainingState.load(tmp_path / "state.pt")
    assert set(state.networks) == {"student"}
    train(
        resumed, images, TWO_EPOCHS, 0, state=state,
        on_epoch=lambda state, terms: rest.append(terms),
    )  # fmt: skip
    assert changed(weights_of(undisturbed.trained), weights_of(resumed.trained)) == set()
    assert rest == terms_of[1:]
    scores = [made.score(images, World(), {}) for made in (undisturbed, resumed)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_learns(placement: str, make_learner: MakeLearner, images: Tensor) -> None:
    losses: list[float] = []
    train(
        make_learner(placement), images, Recipe(epochs=4, batch_size=4, lr=0.01), 0,
        on_epoch=lambda state, terms: losses.append(terms["loss/0"]),
    )  # fmt: skip
    assert losses[-1] < 0.9 * losses[0]


def test_a_student_of_full_width_learns_from_all_five_layers(
    make_learner: MakeLearner, images: Tensor
) -> None:
    learner = make_learner(
        student=StudentConfig(placement="eca", width="full"), training_layers=(1, 2, 3, 4, 5)
    )
    assert tap_shapes(STUDENT_BLOCKS["full"], 32) == tap_shapes(VGG16, 32)
    terms, _ = learner.objectives()[0]({"x": images[:2], **learner.targets(images[:2], World())})
    terms["loss"].backward()
    assert terms["value/1"] > 0
    assert all(p.grad is not None for p in student_of(learner).parameters())


# Two processes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(two_workers: Callable[[str], dict[str, Measured]]) -> dict[str, Measured]:
    """What one process measures ``alone``, and each of two, ``rank0`` and ``rank1``."""
    return two_workers("kd_models/methods/eca_mkdad/ddp_workers.py")


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
@pytest.mark.parametrize("targets", ["live", "given"])
def test_the_scores_of_two_are_those_of_one(
    rank: str, targets: str, measured: dict[str, Measured]
) -> None:
    alone, found = measured["alone"]["known"], measured[rank]["known"]
    assert alone[targets].shape == (5,)
    torch.testing.assert_close(found[targets], alone[targets], rtol=1e-5, atol=0)
    torch.testing.assert_close(found[targets], alone["live"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("rank", ["rank0", "rank1"])
@pytest.mark.parametrize(
    ("kind", "rtol"), [("scoring", 1e-5), ("float32", 1e-5), ("float16", 2**-10)]
)
def test_the_targets_of_two_are_those_of_one(
    rank: str, kind: str, rtol: float, measured: dict[str, Measured]
) -> None:
    alone, found = measured["alone"]["known"][kind], measured[rank]["known"][kind]
    assert list(found) == list(alone)
    for key, target in alone.items():
        assert found[key].dtype == target.dtype
        assert target.any()
        torch.testing.assert_close(found[key], target, rtol=rtol, atol=1e-6)


def test_half_batches_give_the_gradients_of_the_whole(measured: dict[str, Measured]) -> None:
    alone = measured["alone"]["gradients"]
    assert sum(name.startswith("student.") for name in alone) == 13 * 3 + 8
    for rank in ("rank0", "rank1"):
        found = measured[rank]["gradients"]
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            largest = expected.abs().max()
            assert largest > 0, name
            assert (found[name] - expected).abs().max() < 1e-3 * largest, name


def test_two_can_train_on_shallow_layers_alone(measured: dict[str, Measured]) -> None:
    """As one can: blocks after the last distilled layer get no gradient."""
    failed = {name: found["without deep layers"] for name, found in measured.items()}
    assert failed == {"alone": "", "rank0": "", "rank1": ""}
