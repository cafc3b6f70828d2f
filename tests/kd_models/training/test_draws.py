"""Random numbers for objectives, and objectives that are not minimised in every step."""

import io
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Learner
from kd_models.methods.draws import Draw, epoch_draws
from kd_models.methods.objectives import LOSS, Batch, Objective
from kd_models.recipe import Recipe
from kd_models.training.epochs import Epoch, Training, train, train_together
from kd_models.training.state import TrainingState

RECIPE = Recipe(epochs=3, batch_size=4, lr=0.1, schedule="constant")


class Follows(Objective):
    """Moves a number towards the mean of what is drawn."""

    def __init__(self, network: nn.Linear, every: int) -> None:
        super().__init__()
        self.network = network
        self.every = every

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        away = self.network(batch["x"].flatten(1)) - batch["noise"]
        drawn = batch["noise"].mean()
        return {LOSS: away.square().mean(), f"drawn/{self.every}": drawn}, {}


class Drawing(Learner):
    """Two networks; the second learns in every third step."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})

    def draws(self) -> Mapping[str, Draw]:
        return {"noise": Draw((2,)), "place": Draw((1,), "uniform")}

    def objectives(self) -> Sequence[Objective]:
        return [
            Follows(network, every)
            for network, every in zip(self.trained.values(), (1, 3), strict=True)
        ]

    def scorer(self) -> Scorer:
        return Scorer(self.trained["a"])


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))


def weights(learner: Learner) -> list[Tensor]:
    return [p.detach().clone() for net in learner.trained.values() for p in net.parameters()]


def test_what_is_drawn_is_a_function_of_seed_and_epoch() -> None:
    draws = {"noise": Draw((2, 3)), "place": Draw((), "uniform")}
    first, second = (next(epoch_draws(draws, 8, 1, 2)) for _ in range(2))
    assert first["noise"].shape == (8, 2, 3)
    assert first["place"].shape == (8,)
    assert all(torch.equal(first[name], second[name]) for name in draws)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.equal(next(epoch_draws(draws, 8, seed, epoch))["noise"], first["noise"])
    stream = epoch_draws(draws, 8, 1, 2)
    assert not torch.equal(next(stream)["noise"], next(stream)["noise"])


def test_what_is_drawn_has_nothing_to_do_with_weights_or_the_order_of_images() -> None:
    draws = {"noise": Draw((5,))}
    for seed in range(3):
        # Weights have the training's seed; the order of images has one for each epoch.
        for other in (seed, *(seed * 1_000_003 + epoch for epoch in range(3))):
            numbers = torch.randn(8, 5, generator=torch.Generator().manual_seed(other))
            for epoch in range(3):
                assert not torch.equal(next(epoch_draws(draws, 8, seed, epoch))["noise"], numbers)


def test_numbers_are_as_they_are_asked_for() -> None:
    drawn = next(epoch_draws({"n": Draw((100,)), "u": Draw((100,), "uniform")}, 100, 0, 0))
    assert drawn["n"].mean().abs() < 0.05
    assert drawn["n"].std() == pytest.approx(1, abs=0.05)
    assert 0 <= drawn["u"].min() < 0.01
    assert 0.99 < drawn["u"].max() < 1


def test_a_lane_draws_what_it_draws_alone() -> None:
    counts = (8, 13, 21)  # of which some rest at the end of an epoch
    lanes = [Training(Drawing(n), {"x": images(count, n)}, n) for n, count in enumerate(counts)]
    terms: list[Mapping[int, Mapping[str, float]]] = []

    def after_epoch(epoch: Epoch) -> tuple[()]:
        terms.append(epoch.terms)
        return ()

    train_together(lanes, RECIPE, after_epoch)
    for place, (lane, count) in enumerate(zip(lanes, counts, strict=True)):
        alone, own = Drawing(place), []
        train(
            alone,
            images(count, place),
            RECIPE,
            place,
            on_epoch=lambda state, terms, own=own: own.append(terms),
        )
        for found, expected in zip(weights(lane.learner), weights(alone), strict=True):
            torch.testing.assert_close(found, expected)
        assert [epoch[place] for epoch in terms] == [pytest.approx(each) for each in own]


def test_a_training_that_goes_on_draws_what_it_would_have() -> None:
    whole, states = Drawing(0), []
    first: list[TrainingState] = []

    def keep(state: TrainingState, terms: Mapping[str, float]) -> None:
        states.append(state.epoch)
        if state.epoch == 1:
            first.append(copied_from(state))

    train(whole, images(20, 0), RECIPE, 5, on_epoch=keep)
    rest = Drawing(0)
    train(rest, images(20, 0), RECIPE, 5, state=first[0])
    assert states == [1, 2, 3]
    for found, expected in zip(weights(rest), weights(whole), strict=True):
        assert torch.equal(found, expected)


def copied_from(state: TrainingState) -> TrainingState:
    """A state that the training does not go on changing."""
    file = io.BytesIO()
    state.save(file)
    file.seek(0)
    return TrainingState.load(file)


def test_an_objective_is_minimised_as_often_as_it_says() -> None:
    learner = Drawing(0)
    ended: list[tuple[TrainingState, Mapping[str, float]]] = []
    once = RECIPE.model_copy(update={"epochs": 1})
    train(learner, images(28, 0), once, 0, on_epoch=lambda *each: ended.append(each))
    [(state, terms)] = ended
    assert [int(optimizer["state"][0]["step"]) for optimizer in state.optimizers] == [7, 3]
    # The mean of a term is over the steps that have it.
    stream = epoch_draws(learner.draws(), 4, 0, 0)
    drawn = [next(stream)["noise"].mean().item() for _ in range(7)]
    assert terms["drawn/1"] == pytest.approx(sum(drawn) / 7)
    assert terms["drawn/3"] == pytest.approx(sum(drawn[::3]) / 3)
