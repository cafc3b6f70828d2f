"""Lanes against what they stand for: the same trainings, each on its own."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Adam

from kd_models.methods.base import Learner, MemoryBudget, PackContext
from kd_models.methods.eca_mkdad.placements import PLACEMENTS
from kd_models.methods.eca_mkdad.scores import StudentConfig
from kd_models.methods.eca_mkdad.step import DistilConfig
from kd_models.methods.objectives import Objective
from kd_models.methods.pkdgan.objectives import DistillationWeights, GanWeights
from kd_models.methods.pkdgan.step import GanLearner
from kd_models.recipe import Recipe
from kd_models.training.epochs import Epoch, Training, learner_on, on_device, train, train_together
from kd_models.training.lanes import LaneAdam, Lanes, gather
from kd_models.training.state import TrainingState
from kd_models.world import World

MakeLearner = Callable[..., GanLearner]
DrawImages = Callable[..., Tensor]
Weights = dict[str, Tensor]

STRUCTURES = ("teacher", "alone", "kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4")


def weights_of(learner: Learner) -> Weights:
    return {
        f"{name}/{key}": tensor.clone()
        for name, network in learner.trained.items()
        for key, tensor in network.state_dict().items()
    }


def assert_close(found: Weights, expected: Weights, rtol: float, atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


def training(
    learner: Learner, images: Tensor, seed: int, state: TrainingState | None = None
) -> Training:
    x = on_device(images, World())
    learner_on(learner, World())
    return Training(learner, {"x": x, **learner.targets(x, World())}, seed, state)


def finished(
    trainings: Sequence[Training],
    recipe: Recipe,
    each: Callable[[Epoch], Collection[int] | None] = lambda epoch: None,
) -> list[Epoch]:
    """Train to the end; return the epochs there were, of which ``each`` is called with every."""
    epochs: list[Epoch] = []

    def after_epoch(epoch: Epoch) -> Collection[int]:
        epochs.append(epoch)
        return each(epoch) or ()

    train_together(trainings, recipe, after_epoch)
    return epochs


@pytest.fixture
def lane_of(make_learner: MakeLearner, draw_images: DrawImages) -> Callable[..., Training]:
    """A training that differs from any other in seed, data and weights of losses."""

    def make(
        structure: str,
        seed: int,
        *,
        images: int = 10,
        dtype: torch.dtype = torch.float64,
        state: TrainingState | None = None,
        **changes: object,
    ) -> Training:
        own = GanWeights(con=seed + 1, enc=0.5, adv=seed)
        plain = make_learner(structure)
        weights: dict[str, object] = {
            "teacher_weights": own if plain.config.teacher_weights else None,
            "student_weights": own if plain.config.student_weights else None,
            "distillation_weights": DistillationWeights(k1=seed, kx=2, k2=1)
            if plain.config.distillation_weights
            else None,
        }
        learner = make_learner(structure, seed=seed, **(weights | changes))
        for network in learner.networks.values():
            network.to(dtype)
        return training(learner, draw_images(images, seed=seed).to(dtype), seed, state)

    return make


LaneOf = Callable[..., Training]


@pytest.mark.parametrize("normalisation", ["batch", "per-image"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_lanes_train_as_each_would_alone(
    structure: str, normalisation: str, lane_of: LaneOf
) -> None:
    recipe = Recipe(epochs=2, batch_size=4, lr=1e-3)
    together = [lane_of(structure, seed, normalisation=normalisation) for seed in range(3)]
    epochs = finished(together, recipe)
    for place in range(3):
        alone = lane_of(structure, place, normalisation=normalisation)
        (first, last) = finished([alone], recipe)
        assert_close(weights_of(together[place].learner), weights_of(alone.learner), 1e-7, 1e-9)
        for mine, other in zip(epochs, (first, last), strict=True):
            assert mine.terms[place] == pytest.approx(other.terms[0], rel=1e-7, abs=1e-12)


def test_in_single_precision_lanes_stay_within_the_stated_tolerance(lane_of: LaneOf) -> None:
    """What docs/sweep-files.md says, after five steps of Adam."""
    recipe = Recipe(epochs=1, batch_size=4)
    of = {"images": 20, "dtype": torch.float32}
    together = [lane_of("kdgan-2", seed, **of) for seed in range(4)]
    finished(together, recipe)
    for place in range(4):
        alone = lane_of("kdgan-2", place, **of)
        finished([alone], recipe)
        assert_close(weights_of(together[place].learner), weights_of(alone.learner), 1e-3, 1e-4)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(4, 14), min_size=2, max_size=4))
def test_lanes_of_unlike_data_rest_at_the_end_of_an_epoch(
    sizes: list[int], lane_of: LaneOf
) -> None:
    recipe = Recipe(epochs=2, batch_size=4, schedule="cosine")
    together = [lane_of("kdgan-2", seed, images=size) for seed, size in enumerate(sizes)]
    epochs = finished(together, recipe)
    for place, size in enumerate(sizes):
        alone = lane_of("kdgan-2", place, images=size)
        last = finished([alone], recipe)[-1].state(0)
        assert_close(weights_of(together[place].learner), weights_of(alone.learner), 1e-7, 1e-9)
        mine = epochs[-1].state(place)
        assert mine.optimizers[0]["param_groups"] == last.optimizers[0]["param_groups"]


def test_a_lane_that_diverges_ends_and_the_others_do_not_notice(lane_of: LaneOf) -> None:
    recipe = Recipe(epochs=4, batch_size=4)
    bad = lane_of("kdgan-2", 1)
    bad.data["x"][7] = float("nan")
    together = [lane_of("kdgan-2", 0), bad, lane_of("kdgan-2", 2)]
    epochs = finished(together, recipe)
    assert [set(epoch.terms) for epoch in epochs] == [{0, 1, 2}, *[{0, 2}] * 3]
    assert [set(epoch.failed) for epoch in epochs] == [{1}, set(), set(), set()]
    assert "not finite in epoch 1" in str(epochs[0].failed[1])
    for place in (0, 2):
        alone = lane_of("kdgan-2", place)
        finished([alone], recipe)
        assert_close(weights_of(together[place].learner), weights_of(alone.learner), 1e-7, 1e-9)


def test_when_the_last_lane_diverges_the_pack_ends(lane_of: LaneOf) -> None:
    bad = lane_of("alone", 0)
    bad.data["x"][:] = float("inf")
    (epoch,) = finished([bad], Recipe(epochs=3))
    assert set(epoch.failed) == {0}


def test_a_lane_may_be_ended_from_outside(lane_of: LaneOf) -> None:
    recipe = Recipe(epochs=3, batch_size=4)
    together = [lane_of("alone", seed) for seed in range(3)]
    epochs = finished(together, recipe, lambda epoch: {1} if epoch.number == 2 else None)
    assert [set(epoch.terms) for epoch in epochs] == [{0, 1, 2}, {0, 1, 2}, {0, 2}]
    alone = lane_of("alone", 2)
    finished([alone], recipe)
    assert_close(weights_of(together[2].learner), weights_of(alone.learner), 1e-7, 1e-9)


def test_a_lane_goes_on_in_another_pack(lane_of: LaneOf, tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=4)
    undisturbed = lane_of("kdgan-4", 2)
    finished([undisturbed], recipe)
    first = [lane_of("kdgan-4", seed) for seed in (1, 2, 3)]

    def save_and_end(epoch: Epoch) -> Collection[int]:
        epoch.state(1).save(tmp_path / "one.pt")
        epoch.state(2).save(tmp_path / "two.pt")
        return epoch.terms

    assert len(finished(first, recipe, save_and_end)) == 1
    states = {2: "one.pt", 3: "two.pt"}
    second = [
        lane_of("kdgan-4", seed, state=TrainingState.load(tmp_path / states[seed]))
        for seed in (3, 2)
    ]
    assert [epoch.number for epoch in finished(second, recipe)] == [2, 3]
    assert_close(weights_of(second[1].learner), weights_of(undisturbed.learner), 1e-7, 1e-9)


@pytest.mark.parametrize(
    ("placement", "kept"), [*((placement, True) for placement in PLACEMENTS), ("eca-all", False)]
)
def test_feature_students_train_and_score_as_each_would_alone(
    placement: str, kept: bool, teacher_weights: dict[str, Tensor], draw_images: DrawImages
) -> None:
    context = PackContext(teacher_weights, MemoryBudget(None if kept else 0))
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3)
    images = [draw_images(8, seed=seed).double().expand(-1, 3, -1, -1) for seed in range(2)]

    def lane(seed: int) -> Training:
        config = DistilConfig(
            student=StudentConfig(placement=placement), lambda_=0.1 + seed, teacher="0" * 64
        )
        learner = config.learner(seed, context)
        learner.scorer().double()
        return training(learner, images[seed], seed)

    together, alone = [lane(0), lane(1)], [lane(0), lane(1)]
    (epoch,) = finished(together, recipe)
    tested = draw_images(5, seed=9).double().expand(-1, 3, -1, -1)
    targets = together[0].learner.scoring_targets(tested, World())
    assert bool(targets) is kept
    scores = epoch.score({0: tested, 1: tested}, {0: targets, 1: targets})
    for place in range(2):
        (own,) = finished([alone[place]], recipe)
        mine, theirs = together[place].learner, alone[place].learner
        assert_close(weights_of(mine), weights_of(theirs), 1e-7, 1e-9)
        assert epoch.terms[place] == pytest.approx(own.terms[0], rel=1e-7)
        expected = together[place].learner.score(tested, World(), targets)
        torch.testing.assert_close(scores[place], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_lanes_score_as_each_does_alone(
    structure: str, lane_of: LaneOf, draw_images: DrawImages
) -> None:
    together = [lane_of(structure, seed) for seed in range(3)]
    (epoch,) = finished(together, Recipe(epochs=1, batch_size=4))
    one = draw_images(7, seed=5).double()
    several = {i: draw_images(5 + i, seed=i).double() for i in range(3)}
    for images in (dict.fromkeys(range(3), one), several):
        found = epoch.score(images, {i: {} for i in range(3)})
        for place, lane in enumerate(together):
            expected = lane.learner.score(images[place], World())
            torch.testing.assert_close(found[place], expected, rtol=1e-9, atol=0)


def test_scoring_leaves_no_trace_in_the_training(lane_of: LaneOf, draw_images: DrawImages) -> None:
    recipe = Recipe(epochs=3, batch_size=4)
    scored, undisturbed = ([lane_of("kdgan-2", seed) for seed in range(2)] for _ in range(2))
    images = draw_images(6).double()

    def score(epoch: Epoch) -> None:
        epoch.score({0: images, 1: images}, {0: {}, 1: {}})

    finished(scored, recipe, score)
    finished(undisturbed, recipe)
    for one, other in zip(scored, undisturbed, strict=True):
        assert_close(weights_of(one.learner), weights_of(other.learner), 0, 0)


class Noisy(Objective):
    """A module that draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {"loss": (F.dropout(batch["x"]) * self.weight).sum()}, {}


class NoisyLearner(Learner):
    def __init__(self) -> None:
        self._module = Noisy()

    @property
    def trained(self) -> dict[str, nn.Module]:
        return {"noisy": self._module}

    def load(self, weights: object) -> None: ...

    def objectives(self) -> list[Objective]:
        return [self._module]

    def scorer(self) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_random_numbers_which_would_depend_on_the_other_lanes_are_refused() -> None:
    lanes = Lanes([NoisyLearner(), NoisyLearner()], (0.5, 0.999), World())
    with pytest.raises(RuntimeError, match="randomness"):
        lanes.train_step({"x": torch.ones(2, 3)}, [0.1, 0.1])


def test_learners_see_their_own_lane_while_it_trains(lane_of: LaneOf) -> None:
    together = [lane_of("alone", seed) for seed in range(2)]
    before = [weights_of(lane.learner) for lane in together]

    def look(epoch: Epoch) -> None:
        for place, lane in enumerate(together):
            state = epoch.state(place)
            for name, network in lane.learner.trained.items():
                for key, tensor in network.state_dict().items():
                    assert torch.equal(tensor, state.networks[name][key])
            assert any(
                not torch.equal(tensor, before[place][key])
                for key, tensor in weights_of(lane.learner).items()
            )

    finished(together, Recipe(epochs=1, batch_size=4), look)


def test_rows_are_gathered_by_lane() -> None:
    data = [{"x": torch.rand(5, 3, 4, 4), "z": torch.rand(5, 7)} for _ in range(3)]
    rows = [torch.tensor([0, 3]), torch.tensor([4, 4]), torch.tensor([1, 0])]
    batch = gather(data, rows)
    for lane in range(3):
        for name in ("x", "z"):
            assert torch.equal(batch[name][lane], data[lane][name][rows[lane]])


@settings(max_examples=20)
@given(
    active=st.lists(st.integers(1, 3), min_size=1, max_size=6),
    lrs=st.lists(st.sampled_from([0.1, 0.01]), min_size=3, max_size=3),
)
def test_lanes_of_adam_are_adams(active: list[int], lrs: list[float]) -> None:
    """Lanes with counts and rates of their own, some of them resting."""
    torch.manual_seed(0)
    whole = [nn.Parameter(torch.rand(3, 4, 5)), nn.Parameter(torch.rand(3, 2))]
    single = [[nn.Parameter(p[lane].detach().clone()) for p in whole] for lane in range(3)]
    adams = [Adam(own, lr=lr, betas=(0.5, 0.999)) for own, lr in zip(single, lrs, strict=True)]
    lanes = LaneAdam(whole, 3, (0.5, 0.999), stacked=True)
    for count in active:
        for p in whole:
            p.grad = torch.rand_like(p)
        for lane in range(count):
            for p, own in zip(whole, single[lane], strict=True):
                assert p.grad is not None
                own.grad = p.grad[lane]
            adams[lane].step()
        lanes.step(lrs[:count])
    for lane in range(3):
        for p, own in zip(whole, single[lane], strict=True):
            torch.testing.assert_close(p[lane], own, rtol=1e-5, atol=1e-6)
        mine, theirs = lanes.state_of(lane)["state"], adams[lane].state_dict()["state"]
        for index, expected in theirs.items():
            assert mine[index]["step"] == expected["step"]
            torch.testing.assert_close(mine[index]["exp_avg"], expected["exp_avg"])


def test_one_learner_trains_as_a_lane_of_its_own(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    recipe, images = Recipe(epochs=2, batch_size=4), draw_images(8)
    one, other = make_learner("kdgan-2"), make_learner("kdgan-2")
    train(one, images, recipe, 3)
    finished([training(other, images, 3)], recipe)
    assert_close(weights_of(one), weights_of(other), 0, 0)
