"""RKDAD against the formulas of FSP matrices, written again in NumPy."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import MemoryBudget, PackContext, Published, StateDict
from kd_models.methods.eca_mkdad.scores import StudentConfig
from kd_models.methods.objectives import LOSS
from kd_models.methods.rkdad import METHOD
from kd_models.methods.rkdad.losses import fsp_distance
from kd_models.methods.rkdad.settings import RkdadSettings
from kd_models.methods.rkdad.step import RkdadLearner, RkdadStep, check_relations
from kd_models.methods.vgg16 import STUDENT_BLOCKS, VGG16, Student, StudentWidth
from kd_models.recipe import Recipe
from kd_models.training.epochs import Epoch, Training, train, train_together
from kd_models.world import World

Numbers = NDArray[np.float64]
DrawImages = Callable[..., Tensor]

LAYERS = (2, 3, 4, 5)


def step(**changes: Any) -> RkdadStep:
    settings: dict[str, Any] = {
        "width": "lightweight",
        "value_weight": 0.5,
        "training_layers": LAYERS,
        "scoring_layers": LAYERS,
        "teacher": "0" * 64,
    }
    return RkdadStep(**(settings | changes))


@pytest.fixture
def images(draw_images: DrawImages) -> Tensor:
    """Eight, of different contrast."""
    return draw_images(8, channels=3) * torch.linspace(0.2, 1, 8).view(-1, 1, 1, 1)


# Loss and score -----------------------------------------------------------------------------


def pooled(maps: Numbers, size: int) -> Numbers:
    """(C, H, H) to (C, size, size): the largest of each square of pixels."""
    side = maps.shape[1] // size
    squares = [
        [maps[:, y : y + side, x : x + side].max((1, 2)) for x in range(0, size * side, side)]
        for y in range(0, size * side, side)
    ]
    return np.moveaxis(np.array(squares), 2, 0)


def fsp_matrix(first: Numbers, second: Numbers) -> Numbers:
    """Eq. 1 of Yim et al., position by position."""
    first, (_, height, width) = pooled(first, second.shape[1]), second.shape
    total = np.zeros((len(first), len(second)))
    for y in range(height):
        for x in range(width):
            total += np.outer(first[:, y, x], second[:, y, x])
    return total / (height * width)


def distances(
    teacher: Sequence[Numbers], student: Sequence[Numbers], layers: Sequence[int]
) -> tuple[Numbers, Numbers]:
    """Of the FSP matrices of neighbouring layers, and of the layers' values, (B,) each."""
    related, held = np.zeros(len(teacher[0])), np.zeros(len(teacher[0]))
    for one in range(len(teacher[0])):
        t, s = ({i: maps[i - 1][one] for i in layers} for maps in (teacher, student))
        for i, j in pairwise(layers):
            related[one] += ((fsp_matrix(t[i], t[j]) - fsp_matrix(s[i], s[j])) ** 2).mean()
        held[one] = sum(((t[i] - s[i]) ** 2).mean() for i in layers)
    return related, held


def test_the_distance_of_fsp_matrices_by_hand() -> None:
    # One channel of four pixels, of which the larger map has 2 x 2 each.
    larger = torch.tensor([[[[9.0, 1.0], [2.0, 3.0]]]])
    two = torch.tensor([[[[1.0]], [[2.0]]]])
    # The teacher's matrix is (9, 18). The student's, of 3 for 9 and (1, 0), is (3, 0).
    found = fsp_distance((larger, larger / 3), (two, torch.tensor([[[[1.0]], [[0.0]]]])))
    assert found.tolist() == [pytest.approx((6**2 + 18**2) / 2)]


@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(1, 2), (3, 5), (40, 50)]),
    st.sampled_from([(1, 1), (2, 1), (3, 1), (5, 2), (4, 4), (11, 2)]),
)
def test_the_distance_is_that_of_the_matrices(
    seed: int, channels: tuple[int, int], sides: tuple[int, int]
) -> None:
    """With few channels by the matrices themselves, with many by the smaller ones."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.randn(2, 3, c, s, s, generator=generator, dtype=torch.float64)
        for c, s in zip(channels, sides, strict=True)
    )
    found = fsp_distance((first[0], first[1]), (second[0], second[1]))
    for one in range(3):
        teacher, student = (
            fsp_matrix(first[n, one].numpy(), second[n, one].numpy()) for n in range(2)
        )
        assert float(found[one]) == pytest.approx(((teacher - student) ** 2).mean(), rel=1e-9)


def test_a_small_distance_is_not_lost_to_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 64, 2, 2, generator=generator) + 1 for _ in range(2))
    pairs = [(maps, maps * (1 + 2**-12)) for maps in (first, second)]
    exact = fsp_distance(*((t.double(), s.double()) for t, s in pairs))
    assert (exact < 1e-6 * fsp_distance(*((t, 0 * t) for t, _ in pairs))).all()
    torch.testing.assert_close(fsp_distance(*pairs).double(), exact, rtol=1e-4, atol=0)
    assert fsp_distance((first, first), (second, second)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value_weight", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("layers", [LAYERS, (3, 4, 5)])
def test_loss_and_score_are_of_relations_and_by_their_weight_of_values(
    value_weight: float, layers: tuple[int, ...], teacher_weights: StateDict, images: Tensor
) -> None:
    made = step(value_weight=value_weight, scoring_layers=layers)
    learner = RkdadLearner(made, 0, PackContext(teacher_weights))
    student, teacher = learner.trained["detector"], learner.scorer().teacher
    with torch.no_grad():
        of_teacher = [maps.double().numpy() for maps in teacher(images)]
        in_training = [maps.double().numpy() for maps in student.train()(images)]
        (objective,) = learner.objectives()
        terms, made_tensors = objective({"x": images})
        of_student = [maps.double().numpy() for maps in student.eval()(images)]
    assert made_tensors == {}
    related, held = distances(of_teacher, in_training, LAYERS)
    assert terms[LOSS].item() == pytest.approx((related + value_weight * held).mean(), rel=1e-5)
    assert set(terms) == {
        *("fsp/2-3", "fsp/3-4", "fsp/4-5", "value/2", "value/3", "value/4", "value/5"),
        LOSS,
    }
    related, held = distances(of_teacher, of_student, layers)
    scores = learner.score(images, World())
    np.testing.assert_allclose(scores.numpy(), related + value_weight * held, rtol=1e-4)
    # Both parts are large enough to be missed.
    assert (np.minimum(related, held) > 0.01 * (related + held)).all()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_kept_maps_of_the_teacher_are_learned_and_scored_alike(
    precision: str, teacher_weights: StateDict, images: Tensor
) -> None:
    made = step(precision=precision)
    learner = RkdadLearner(made, 0, PackContext(teacher_weights))
    kept, tested = learner.targets(images, World()), learner.scoring_targets(images, World())
    assert kept.keys() == tested.keys() == {f"target/{layer}" for layer in LAYERS}
    (objective,) = learner.objectives()
    live = objective({"x": images})[0]
    for name, term in objective({"x": images, **kept})[0].items():
        torch.testing.assert_close(term, live[name], rtol=1e-4, atol=0)
    expected = learner.score(images, World())
    torch.testing.assert_close(learner.score(images, World(), tested), expected, rtol=1e-4, atol=0)
    without_room = RkdadLearner(made, 0, PackContext(teacher_weights, MemoryBudget(0)))
    assert without_room.targets(images, World()) == {}


# Settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "scoring", "width", "words"),
    [
        ((2, 3, 4), (3,), "full", r"^scoring_layers is \[3\]; expected at least two"),
        ((2, 3, 4), (2, 4), "full", r"^scoring_layers relates 2 and 4, between which training_l"),
        ((2, 3), (3, 4), "full", r"^scoring_layers has 4, which training_layers \[2, 3\] lacks"),
        ((1, 2), (1, 2), "lightweight", r"^training_layers has 1, .* 16 channels .* width full$"),
    ],
)
def test_layers_that_do_not_relate(
    training: tuple[int, ...], scoring: tuple[int, ...], width: StudentWidth, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        check_relations(training, scoring, width)
    layers = {"training_layers": training, "scoring_layers": scoring}
    with pytest.raises(ValidationError, match=words.removeprefix("^").removesuffix("$")):
        step(width=width, **layers)
    with pytest.raises(ValidationError, match=words.removeprefix("^").removesuffix("$")):
        RkdadSettings.model_validate({"student_widths": (width,), **layers})


@pytest.mark.parametrize(
    ("training", "scoring"), [(LAYERS, LAYERS), (LAYERS, (3, 4)), ((5, 2), (2, 5))]
)
def test_layers_that_relate(training: tuple[int, ...], scoring: tuple[int, ...]) -> None:
    check_relations(training, scoring, "lightweight")


def test_recipes_by_name() -> None:
    own = RkdadSettings.model_validate({})
    assert (own.student_widths, own.value_weights) == (("lightweight",), (10.0,))
    assert (own.training.epochs, own.training.batch_size, own.training.lr) == (20, 32, 0.1)
    paper = RkdadSettings.model_validate({"recipe": "paper", "training": {"batch_size": 8}})
    assert (paper.student_widths, paper.value_weights) == (("full",), (0.0,))
    assert (paper.training.epochs, paper.training.batch_size) == ("paper", 8)
    assert (paper.training.lr, paper.training.schedule) == (0.1, "constant")


@pytest.mark.parametrize(
    ("dataset", "epochs", "size"), [("digits", 100, 32), ("stl10", 300, 96), ("mvtec", 500, 128)]
)
def test_variants_of_a_dataset(dataset: str, epochs: int, size: int) -> None:
    own = RkdadSettings.model_validate(
        {
            "recipe": "paper",
            "student_widths": ("full", "lightweight"),
            "value_weights": (0.0, 1.0),
            "teacher": {"weights": "random", "precision": "float16"},
        }
    )
    assert (own.pretrained_source, own.batch_sizes()) == ("random", {"training.batch_size": 32})
    found = list(own.variants(dataset_row(dataset), None, "0" * 64))
    assert [tuple(variant.axes.values()) for variant in found] == [
        *(("full", 0.0), ("full", 1.0), ("lightweight", 0.0), ("lightweight", 1.0))
    ]
    assert {variant.image_size for variant in found} == {size}
    ((made, recipe),) = found[2].steps
    assert made == step(value_weight=0.0, precision="float16")
    assert recipe is not None
    assert recipe.epochs == epochs


def test_the_published_number_is_the_mean_of_the_categories() -> None:
    # Table 5 of the second paper, bottle to zipper.
    each = [0.9905, 0.9271, 0.7308, 0.7771, 0.6642, 0.9682, 0.6090, 0.8279, 0.7870]
    each += [0.9467, 0.7879, 0.8833, 0.8775, 0.9237, 0.8997]
    assert len(each) == 15
    published = METHOD.published_of("mvtec", {"student_width": "full"})
    assert published == Published(round(np.mean(each), 4))
    assert METHOD.published_of("mvtec", {"student_width": "lightweight"}) is None


# What it costs and what it starts from ------------------------------------------------------


def parameters(width: StudentWidth) -> int:
    """Convolutions of 3 x 3 without biases and two numbers of each BatchNorm's channel."""
    widths = [3, *(c for block in STUDENT_BLOCKS[width] for c in block)]
    return sum(9 * a * b + 2 * b for a, b in pairwise(widths))


@pytest.mark.parametrize(
    ("width", "student", "flops"),
    [("lightweight", 346_832, 14_399_744), ("full", 14_718_912, 313_749_504)],
)
def test_what_it_costs(width: StudentWidth, student: int, flops: int) -> None:
    scorer = step(width=width).detector.scorer().eval()
    found = complexity(scorer, torch.zeros(1, 3, 32, 32))
    assert parameters(width) == student
    teacher = [3, *(c for block in VGG16 for c in block)]
    beside = sum(9 * a * b + b for a, b in pairwise(teacher))
    # Beside both networks: for 16, 4 and 1 positions P, the products of 2 P columns of C + D.
    compared = 32**2 * (128 + 256) + 8**2 * (256 + 512) + 2**2 * (512 + 512)
    assert (found.params, found.flops) == (student + beside, flops + 313_196_544 + compared)


def test_the_student_is_the_one_without_attention() -> None:
    student, expected = Student("lightweight"), StudentConfig(placement="mkdad").network()
    assert str(student) == str(expected)
    assert [n for n, _ in student.named_parameters()] == [n for n, _ in expected.named_parameters()]


def test_what_comes_after_the_last_layer_is_not_trained(teacher_weights: StateDict) -> None:
    made = step(training_layers=(2, 3, 4), scoring_layers=(3, 4))
    network = made.learner(0, PackContext(teacher_weights)).trained["detector"]
    assert isinstance(network, Student)
    after = list(network.after(4).parameters())
    assert after
    assert not any(p.requires_grad for p in after)
    assert sum(p.requires_grad for p in network.parameters()) == 10 * 3


@pytest.mark.parametrize("kept", [True, False])
def test_lanes_that_differ_in_weights_train_and_score_as_alone(
    kept: bool, teacher_weights: StateDict, draw_images: DrawImages
) -> None:
    context = PackContext(teacher_weights, MemoryBudget(None if kept else 0))
    recipe = Recipe(epochs=2, batch_size=4, lr=1e-3)
    steps = [step(value_weight=weight) for weight in (0.0, 2.0)]
    assert len({each.lane_group for each in steps}) == 1
    drawn = [draw_images(8, seed=seed).double().expand(-1, 3, -1, -1) for seed in range(2)]

    def lane(seed: int) -> Training:
        learner = steps[seed].learner(seed, context)
        learner.scorer().double()
        targets = learner.targets(drawn[seed], World())
        assert bool(targets) is kept
        return Training(learner, {"x": drawn[seed], **targets}, seed)

    together, alone = [lane(0), lane(1)], [lane(0), lane(1)]
    unseen = draw_images(5, seed=9).double().expand(-1, 3, -1, -1)
    scores: dict[int, Tensor] = {}

    def after_epoch(epoch: Epoch) -> tuple[()]:
        scores.update(epoch.score(dict.fromkeys(range(2), unseen), {0: {}, 1: {}}))
        return ()

    train_together(together, recipe, after_epoch)
    for place, (lanes, own) in enumerate(zip(together, alone, strict=True)):
        train(own.learner, drawn[place], recipe, place)
        assert_close(lanes.learner.trained["detector"], own.learner.trained["detector"])
        expected = lanes.learner.score(unseen, World())
        torch.testing.assert_close(scores[place], expected, rtol=1e-9, atol=0)


def assert_close(found: nn.Module, expected: nn.Module) -> None:
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-7, atol=1e-9)
