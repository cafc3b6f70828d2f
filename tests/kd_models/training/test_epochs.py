import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Adam

from kd_models.methods.pkdgan.step import GanLearner
from kd_models.recipe import Recipe
from kd_models.training.epochs import DataTooSmall, Diverged, batches_per_epoch, epoch_order, train
from kd_models.training.state import TrainingState
from kd_models.world import World

MakeLearner = Callable[..., GanLearner]
DrawImages = Callable[..., Tensor]
Weights = dict[str, dict[str, Tensor]]
WeightsOf = Callable[[dict[str, nn.Module]], Weights]
Changed = Callable[[Weights, Weights], set[str]]
Terms = dict[str, float]


class Stopped(Exception):
    """The process is killed here."""


class Log:
    """Every call of ``on_epoch``."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.terms: list[Terms] = []
        self.lrs: list[list[float]] = []

    def __call__(self, state: TrainingState, terms: Terms) -> None:
        self.epochs.append(state.epoch)
        self.terms.append(terms)
        self.lrs.append([optimizer["param_groups"][0]["lr"] for optimizer in state.optimizers])


@pytest.mark.parametrize("structure", ["teacher", "alone", "kdgan-1", "kdgan-2", "kdgan-4"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_stopped_and_resumed_equals_one_never_stopped(
    structure: str,
    stop: int,
    tmp_path: Path,
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    images, recipe = draw_images(10), Recipe(epochs=3, batch_size=4)
    stored = make_learner("teacher", seed=5)
    train(stored, images, Recipe(epochs=1, batch_size=4), seed=5)
    teacher = weights_of(stored.networks) if structure.startswith("kdgan") else {}

    def learner(seed: int) -> GanLearner:
        made = make_learner(structure, seed=seed)
        made.load(teacher)
        return made

    undisturbed, whole = learner(0), Log()
    train(undisturbed, images, recipe, seed=0, on_epoch=whole)

    def save_and_stop(state: TrainingState, terms: Terms) -> None:
        if state.epoch == stop:
            state.save(tmp_path / "state.pt")
            raise Stopped

    with pytest.raises(Stopped):
        train(learner(0), images, recipe, seed=0, on_epoch=save_and_stop)
    # Nothing of the first process is left: other initial weights, other random numbers.
    resumed, rest = learner(99), Log()
    torch.manual_seed(123)
    state = TrainingState.load(tmp_path / "state.pt")
    train(resumed, images, recipe, seed=0, state=state, on_epoch=rest)

    assert changed(weights_of(undisturbed.networks), weights_of(resumed.networks)) == set()
    assert rest.epochs == whole.epochs[stop:]
    assert rest.terms == whole.terms[stop:]
    assert rest.lrs == whole.lrs[stop:]


def test_a_finished_state_is_restored_and_not_trained_on(
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    states: list[TrainingState] = []
    recipe = Recipe(epochs=2, batch_size=8)
    first, second, log = make_learner("alone"), make_learner("alone", seed=1), Log()
    train(first, draw_images(8), recipe, 0, on_epoch=lambda state, terms: states.append(state))
    train(second, draw_images(8), recipe, 0, state=states[-1], on_epoch=log)
    assert log.epochs == []
    assert changed(weights_of(first.networks), weights_of(second.networks)) == set()


def test_optimizers_must_be_as_many_as_were_saved(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    states: list[TrainingState] = []
    images, recipe = draw_images(8), Recipe(epochs=1, batch_size=8)
    train(
        make_learner("alone"), images, recipe, 0, on_epoch=lambda state, terms: states.append(state)
    )
    fewer = replace(states[0], epoch=0, optimizers=states[0].optimizers[:1])
    with pytest.raises(ValueError, match="zip"):
        train(make_learner("alone"), images, recipe, 0, state=fewer)


def test_a_fixed_teacher_is_no_part_of_the_state(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    states: list[TrainingState] = []
    train(
        make_learner("kdgan-2"),
        draw_images(4),
        Recipe(epochs=1),
        0,
        on_epoch=lambda state, terms: states.append(state),
    )
    (state,) = states
    assert set(state.networks) == {"student.generator", "student.discriminator"}
    assert (state.epoch, len(state.optimizers)) == (1, 2)


def test_every_epoch_is_reported_once_under_every_name(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    log = Log()
    train(make_learner("kdgan-2"), draw_images(8), Recipe(epochs=3, batch_size=4), 0, on_epoch=log)
    assert log.epochs == [1, 2, 3]
    names = {f"student/{name}" for name in ("con", "enc", "adv", "ce_real", "ce_fake")}
    names |= {"kd/k1", "kd/kx", "kd/k2", "loss/0", "loss/1"}
    assert [set(terms) for terms in log.terms] == [names] * 3
    assert all(isinstance(value, float) for terms in log.terms for value in terms.values())


def test_a_term_is_its_mean_over_the_epoch(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    # At this rate no weight moves, so that the batches can be gone through again.
    recipe, images, log = Recipe(epochs=1, batch_size=4, lr=1e-30), draw_images(8), Log()
    images[4:] *= 0.1
    learner = make_learner("alone", normalisation="per-image")
    train(learner, images, recipe, seed=0, on_epoch=log)
    objective = learner.objectives()[0]
    batches = [objective({"x": images[rows]})[0] for rows in epoch_order(8, 4, 2, 0, 0)]
    for name, reported in (("con", "student/con"), ("loss", "loss/0")):
        key = "loss" if name == "loss" else reported
        values = [terms[key].item() for terms in batches]
        assert values[0] != pytest.approx(values[1], rel=0.01)
        assert log.terms[0][reported] == pytest.approx(sum(values) / 2, rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_every_optimizer_follows_the_schedule_step_by_step(
    schedule: str, make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    log, recipe = Log(), Recipe(epochs=3, batch_size=4, lr=0.01, schedule=schedule)
    train(make_learner("alone"), draw_images(9), recipe, 0, on_epoch=log)
    # Two steps an epoch (the ninth image is dropped), so six in all; each epoch's last is seen.
    assert log.lrs == [[recipe.lr_at(step, 6)] * 2 for step in (1, 3, 5)]


def test_training_is_adam_on_both_objectives_in_turn(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    """Against the step written out, in double precision, where rounding leaves no doubt."""
    recipe = Recipe(epochs=2, batch_size=4, lr=0.01, betas=(0.3, 0.9))
    images = draw_images(8).double()
    trained, by_hand = (make_learner("alone", normalisation="per-image") for _ in range(2))
    for learner in (trained, by_hand):
        for network in learner.networks.values():
            network.double()
    train(trained, images, recipe, seed=3)

    generator, discriminator = by_hand.networks.values()
    adam_g, adam_d = (Adam(n.parameters(), betas=(0.3, 0.9)) for n in (generator, discriminator))
    for step in range(4):
        rows = list(epoch_order(8, 4, 2, 3, step // 2))[step % 2]
        x = images[rows]
        for adam in (adam_g, adam_d):
            adam.param_groups[0]["lr"] = 0.005 * (1 + math.cos(math.pi * step / 4))
        z1, x_hat, z2 = generator(x)
        f_x, f_x_hat = discriminator(x)[1], discriminator(x_hat)[1]
        norms = [(a - b).flatten(1).norm(dim=1).mean() for a, b in ((z1, z2), (f_x, f_x_hat))]
        loss = 10 * (x - x_hat).abs().mean() + sum(norms)
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()
        # The reconstruction of before the generator's update, without its graph.
        real, fake = discriminator(x)[0], discriminator(x_hat.detach())[0]
        adam_d.zero_grad()
        (0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())).backward()
        adam_d.step()

    for name, network in trained.networks.items():
        for key, expected in by_hand.networks[name].state_dict().items():
            torch.testing.assert_close(network.state_dict()[key], expected, rtol=1e-6, atol=1e-9)


def test_the_seed_decides_the_order_and_so_the_result(
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    results = []
    for seed in (0, 0, 1):
        learner = make_learner("kdgan-1")
        torch.manual_seed(len(results))
        train(learner, draw_images(8), Recipe(epochs=2, batch_size=4), seed)
        results.append(weights_of(learner.trained))
    assert changed(results[0], results[1]) == set()
    assert changed(results[0], results[2]) == {"student.generator"}


def test_targets_stay_with_their_images(make_learner: MakeLearner, draw_images: DrawImages) -> None:
    """However the images are shuffled, K_l compares each with its own target."""
    images, log = draw_images(8), Log()
    learner = make_learner("kdgan-1", normalisation="per-image")
    student, teacher = (learner.networks[f"{r}.generator"] for r in ("student", "teacher"))
    with torch.no_grad():
        expected = (student(images).x_hat_BCSS - teacher(images).x_hat_BCSS).abs().mean().item()
    train(learner, images, Recipe(epochs=1, batch_size=2, lr=1e-30), 0, on_epoch=log)
    assert log.terms[0]["kd/kx"] == pytest.approx(expected, rel=1e-5)


def test_nan_images_diverge_in_the_first_epoch_by_name(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    images, log = draw_images(4), Log()
    images[2, 0, 5, 5] = math.nan
    with pytest.raises(Diverged, match=r"student/con, .*loss/0.* not finite in epoch 1$"):
        train(make_learner("alone"), images, Recipe(epochs=3), 0, on_epoch=log)
    assert log.epochs == []


def test_only_the_terms_that_diverged_are_named_with_their_epoch(
    make_learner: MakeLearner, draw_images: DrawImages
) -> None:
    learner, log = make_learner("kdgan-4"), Log()

    def spoil(state: TrainingState, terms: Terms) -> None:
        log(state, terms)
        if state.epoch == 2:
            learner.networks["teacher.generator"].re_encoder.head.weight.data.fill_(math.inf)

    with pytest.raises(Diverged, match=r"not finite in epoch 3$") as error:
        train(learner, draw_images(4), Recipe(epochs=4), 0, on_epoch=spoil)
    named = set(str(error.value).removesuffix(" not finite in epoch 3").split(", "))
    assert named == {"teacher/enc", "kd/k2", "loss/0"}
    assert log.epochs == [1, 2]


def test_no_image_to_train_on(make_learner: MakeLearner, draw_images: DrawImages) -> None:
    with pytest.raises(DataTooSmall, match="0 images to train on, batch_size 64"):
        train(make_learner("alone"), draw_images(0), Recipe(), 0)


@pytest.mark.parametrize(
    ("images", "batch_size", "workers", "expected"),
    [
        (100, 32, 1, (32, 3)),
        (100, 32, 3, (30, 3)),
        (10, 64, 1, (10, 1)),
        (11, 64, 2, (10, 1)),
        (5, 1, 1, (1, 5)),
        (2, 64, 2, (2, 1)),
    ],
)
def test_batches_by_hand(
    images: int, batch_size: int, workers: int, expected: tuple[int, int]
) -> None:
    assert batches_per_epoch(images, batch_size, workers) == expected


@given(st.integers(0, 500), st.integers(1, 200), st.integers(1, 16))
def test_batches_are_even_and_as_large_as_they_may_be(
    images: int, batch_size: int, workers: int
) -> None:
    largest = min(images, batch_size)
    if largest < workers:
        with pytest.raises(DataTooSmall, match=rf"{workers} workers .*batches of {largest} images"):
            batches_per_epoch(images, batch_size, workers)
        return
    size, steps = batches_per_epoch(images, batch_size, workers)
    assert size % workers == 0
    assert largest - workers < size <= largest
    assert images - size < steps * size <= images


sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)).filter(lambda s: s[1] <= s[0])
seeds, epochs = st.integers(0, 10_000), st.integers(0, 600)


def order(images: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    steps = images // batch_size
    return [rows.tolist() for rows in epoch_order(images, batch_size, steps, seed, epoch)]


@given(sizes, seeds, epochs)
def test_an_epoch_s_order_is_a_part_of_a_permutation(
    size: tuple[int, int], seed: int, epoch: int
) -> None:
    images, batch_size = size
    batches = order(images, batch_size, seed, epoch)
    assert [len(rows) for rows in batches] == [batch_size] * (images // batch_size)
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(images))


@given(sizes, seeds, epochs)
def test_the_batch_size_cuts_the_order_and_does_not_change_it(
    size: tuple[int, int], seed: int, epoch: int
) -> None:
    images, batch_size = size
    rows = [row for batch in order(images, batch_size, seed, epoch) for row in batch]
    assert [[row] for row in rows] == order(images, 1, seed, epoch)[: len(rows)]


@given(st.integers(0, 1000), st.integers(0, 1000), epochs, epochs)
def test_epochs_and_seeds_differ(seed: int, other_seed: int, epoch: int, other: int) -> None:
    assume((seed, epoch) != (other_seed, other))
    assert order(40, 8, seed, epoch) != order(40, 8, other_seed, other)


@given(seeds, epochs, st.integers(0, 1000))
def test_the_order_depends_on_nothing_else_and_disturbs_nothing(
    seed: int, epoch: int, elsewhere: int
) -> None:
    expected = order(20, 4, seed, epoch)
    torch.manual_seed(elsewhere)
    before = torch.get_rng_state()
    assert order(20, 4, seed, epoch) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_is_dropped_as_often_as_any_other() -> None:
    rows = torch.cat([r for e in range(400) for r in epoch_order(5, 2, 2, 0, e)])
    counts = rows.bincount(minlength=5)
    assert counts.min() > 280  # 320 expected, standard deviation 8
    assert counts.max() < 360


def test_a_world_of_one_is_the_default(
    make_learner: MakeLearner,
    draw_images: DrawImages,
    weights_of: WeightsOf,
    changed: Changed,
) -> None:
    first, second = make_learner("alone"), make_learner("alone")
    train(first, draw_images(4), Recipe(epochs=1), 0)
    train(second, draw_images(4), Recipe(epochs=1), 0, world=World())
    assert changed(weights_of(first.networks), weights_of(second.networks)) == set()
