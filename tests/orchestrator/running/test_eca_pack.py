"""One pack of ECA_MKDAD from a pretrained teacher to the store: real, tiny trainings."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contexts import context_in

from kd_models.data import ImageSet, one_class
from kd_models.evaluation.localisation import localisation_metrics, worth_a_look
from kd_models.evaluation.metrics import auroc, aurocs
from kd_models.evaluation.protocol import holdout_split
from kd_models.methods.base import PackContext, PretrainedWeights
from kd_models.methods.eca_mkdad.step import DistilConfig
from kd_models.world import World
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.results import candidate_result
from orchestrator.running.context import RunContext
from orchestrator.running.pack import run_pack
from orchestrator.store import open_store
from orchestrator.store.record import (
    CAPTIONS,
    HISTORY,
    NETWORKS,
    SCORES,
    SHOWN,
    check_identity,
    read_history,
    read_networks,
    read_scores,
    read_shown,
)
from orchestrator.store.stages import CorruptStage, Store

AUROCS = {"auroc", "val_auroc", "test_auroc"}
LOCALISED = {"pixel_auroc", "pro"}
KINDS = ("highest", "typical", "another typical")

SiteOf = Callable[..., RunContext]


def run(stage: Stage, context: RunContext, session: Any) -> dict[str, str]:
    return run_pack(Pack.of([stage]), context, World(), session)


def student_of(plan: Plan) -> Stage:
    return plan.stages[plan.candidates[0].key]


@pytest.fixture
def session(tmp_path: Path, recorder: Any) -> Any:
    return recorder()


@pytest.fixture
def context_of(teacher: PretrainedWeights, tmp_path: Path) -> SiteOf:
    """A context with a store of its own, by its folder's name."""

    def make(images: ImageSet, name: str = "store", **changes: Any) -> RunContext:
        store = open_store(str(tmp_path / name))
        context = context_in(
            store,
            images,
            read_pretrained=lambda: teacher.state,
        )
        return replace(context, **changes)

    return make


@pytest.fixture(scope="module")
def on_digits(
    eca_plan: Callable[..., Plan],
    few_digits: ImageSet,
    teacher: PretrainedWeights,
    recorder: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Store, Stage]:
    """A student that was taught about a few digits, of which there are no masks."""
    stage = student_of(eca_plan(few_digits))
    store = open_store(str(tmp_path_factory.mktemp("digits-store")))
    context = context_in(
        store,
        few_digits,
        read_pretrained=lambda: teacher.state,
    )
    session = recorder()
    assert run(stage, context, session) == {}
    assert session.said == []
    return store, stage


@pytest.fixture(scope="module")
def on_cloth(eca_trained: Any) -> tuple[Store, Stage]:
    return eca_trained.store, student_of(eca_trained.plan)


# What is stored


def test_only_the_student_is_stored_and_not_the_teacher_again(
    on_cloth: tuple[Store, Stage],
) -> None:
    store, stage = on_cloth
    check_identity(store, stage)
    networks = read_networks(store, stage.key)
    assert networks.keys() == {"student"}
    step = stage.step
    assert isinstance(step, DistilConfig)
    assert networks["student"].keys() == step.student.network().state_dict().keys()
    assert len(store.read(stage.key, NETWORKS)) < 2e6


def test_history_ends_with_aurocs_and_with_how_well_novelty_is_localised(
    on_cloth: tuple[Store, Stage],
) -> None:
    rows = read_history(*on_cloth)
    assert [row["epoch"] for row in rows] == [1, 2]
    first, last = (set(row) for row in rows)
    assert first >= {"seconds", "loss/0", *AUROCS}
    assert not first & LOCALISED
    assert last == first | LOCALISED
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert all(0 <= rows[-1][name] <= 1 for name in LOCALISED)


def test_history_without_masks_ends_with_aurocs_alone(on_digits: tuple[Store, Stage]) -> None:
    rows = read_history(*on_digits)
    assert len(rows) == 2
    assert set(rows[-1]) == set(rows[0])
    assert set(rows[-1]) >= AUROCS
    assert not set(rows[-1]) & LOCALISED


def test_scores_are_of_the_whole_test_split(
    on_digits: tuple[Store, Stage],
    on_cloth: tuple[Store, Stage],
    few_digits: ImageSet,
) -> None:
    scores = read_scores(*on_digits)
    assert scores.labels.tolist() == few_digits.test.labels.tolist()
    assert scores.novel.tolist() == (few_digits.test.labels != 0).tolist()
    scores = read_scores(*on_cloth)
    assert scores.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert scores.novel.tolist() == [False] * 2 + [True] * 6


def test_aurocs_of_the_last_epoch_are_those_of_the_stored_scores(
    on_digits: tuple[Store, Stage], on_cloth: tuple[Store, Stage]
) -> None:
    for trained in (on_digits, on_cloth):
        scores, last = read_scores(*trained), read_history(*trained)[-1]
        split = holdout_split(scores.labels)
        assert {name: last[name] for name in AUROCS} == aurocs(scores.scores, scores.novel, split)
        assert last["auroc"] == auroc(scores.scores, scores.novel)


def test_the_stored_student_scores_as_stored(
    on_cloth: tuple[Store, Stage], cloth: ImageSet, teacher: PretrainedWeights
) -> None:
    store, stage = on_cloth
    learner = stage.step.learner(99, PackContext(teacher.state))
    learner.load(read_networks(store, stage.key))
    data = one_class(cloth, "cloth", image_size=32, channels=3)
    found = learner.score(data.test, World(), {})
    torch.testing.assert_close(
        found.double().numpy(), read_scores(store, stage).scores, rtol=1e-5, atol=0
    )


def test_results_say_how_well_novelty_is_localised(eca_trained: Any) -> None:
    (candidate, _), store = eca_trained.plan.candidates, eca_trained.store
    result = candidate_result(eca_trained.plan, candidate, store)
    last = read_history(store, eca_trained.plan.stages[candidate.key])[-1]
    assert result.localisation == {name: last[name] for name in LOCALISED}
    assert {name: result.as_row()[name] for name in LOCALISED} == result.localisation
    assert result.teacher_auroc is None


# What is shown


def test_images_worth_a_look_are_stored_with_their_captions(
    on_cloth: tuple[Store, Stage],
) -> None:
    shown = read_shown(*on_cloth)
    # Of so few images none is left for a second typical one.
    kinds = [one.caption.partition(": ")[0] for one in shown]
    assert kinds == [f"{kind} {what}" for what in ("novel", "normal") for kind in KINDS[:2]]
    assert [one.novel for one in shown] == [True, True, False, False]
    for one in shown:
        name = one.caption.partition(": ")[2]
        assert name.startswith("cloth/test/")
        assert name.endswith(".png")
        assert ("good" in name) == (not one.novel)
    assert len({one.caption.partition(": ")[2] for one in shown}) == len(shown)


def test_of_images_without_names_captions_say_the_kind_alone(
    on_digits: tuple[Store, Stage],
) -> None:
    captions = [one.caption for one in read_shown(*on_digits)]
    assert captions == [f"{kind} {what}" for what in ("novel", "normal") for kind in KINDS][:5]


def test_the_highest_shown_are_the_highest_of_the_stored_scores(
    on_digits: tuple[Store, Stage], on_cloth: tuple[Store, Stage]
) -> None:
    for trained in (on_digits, on_cloth):
        scores, shown = read_scores(*trained), read_shown(*trained)
        for novel in (True, False):
            own = [one for one in shown if one.novel is novel]
            assert own[0].caption.startswith("highest ")
            assert own[0].score == scores.scores[scores.novel == novel].max()
            assert all(one.score <= own[0].score for one in own)
        rows = worth_a_look(scores.scores, scores.novel).values()
        assert [one.score for one in shown] == scores.scores[list(rows)].tolist()


def test_shown_images_have_heat_layers_and_where_there_are_some_masks(
    on_cloth: tuple[Store, Stage], cloth: ImageSet
) -> None:
    data = one_class(cloth, "cloth", image_size=32, channels=3)
    assert data.names is not None
    assert data.masks is not None
    for one in read_shown(*on_cloth):
        row = data.names.index(one.caption.partition(": ")[2])
        np.testing.assert_array_equal(one.image, data.test[row].numpy())
        assert one.mask is not None
        np.testing.assert_array_equal(one.mask, data.masks[row].numpy())
        assert one.mask.any() == one.novel
        assert one.heat.shape == (32, 32)
        assert one.heat.dtype == np.float32
        assert one.heat.min() >= 0
        assert one.heat.max() > 0
        assert {layer: maps.shape for layer, maps in one.layers.items()} == {
            2: (3, 8, 8),
            3: (3, 4, 4),
            4: (3, 2, 2),
            5: (3, 1, 1),
        }
        assert all((maps[2] >= 0).all() for maps in one.layers.values())


def test_where_there_are_no_masks_none_is_shown(on_digits: tuple[Store, Stage]) -> None:
    shown = read_shown(*on_digits)
    assert [one.mask for one in shown] == [None] * 5
    assert all(set(one.layers) == {2, 3, 4, 5} and one.heat.min() >= 0 for one in shown)


def test_layers_shown_are_those_that_are_distilled(
    eca_plan: Callable[..., Plan], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    layers = {"training_layers": [3, 5], "scoring_layers": [5]}
    plan = eca_plan(cloth, **layers, training={"epochs": 1, "batch_size": 8})
    stage, context = student_of(plan), context_of(cloth)
    assert run(stage, context, session) == {}
    assert {tuple(one.layers) for one in read_shown(context.store, stage)} == {(3, 5)}


def test_pixel_auroc_is_that_of_all_masked_images(
    on_cloth: tuple[Store, Stage], cloth: ImageSet, teacher: PretrainedWeights
) -> None:
    from kd_models.evaluation.localisation import heat_maps

    store, stage = on_cloth
    learner = stage.step.learner(0, PackContext(teacher.state))
    learner.load(read_networks(store, stage.key))
    data = one_class(cloth, "cloth", image_size=32, channels=3)
    assert data.masks is not None
    assert data.masked is not None
    maps = heat_maps(learner.scorer(), data.test).numpy()
    found = localisation_metrics(maps[data.masked.numpy()], data.masks[data.masked])
    last = read_history(store, stage)[-1]
    assert found == pytest.approx({name: last[name] for name in LOCALISED}, abs=1e-3)


def test_a_stage_of_p_kdgan_shows_nothing(trained: Any) -> None:
    for stage in trained.plan.stages.values():
        assert read_shown(trained.store, stage) == ()
        assert not set(read_history(trained.store, stage)[-1]) & LOCALISED
        for name in (SHOWN, CAPTIONS):
            with pytest.raises(CorruptStage):
                trained.store.read(stage.key, name)


# A teacher that is not kept


def test_without_memory_the_teacher_runs_live_and_says_what_to_set(
    on_cloth: tuple[Store, Stage], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    kept, stage = on_cloth
    context = context_of(cloth, budget_bytes=0)
    handlers = list(logging.getLogger("kd_models").handlers)
    assert run(stage, context, session) == {}
    for line, split in zip(session.said, ("training", "test"), strict=True):
        assert line.startswith(f"{stage.title}: the teacher runs live on the {split} images")
        assert "resources.teacher_cache_gib" in line
    assert logging.getLogger("kd_models").handlers == handlers
    np.testing.assert_allclose(
        read_scores(context.store, stage).scores, read_scores(kept, stage).scores, rtol=1e-3
    )


def test_memory_for_one_split_alone_is_said_of_the_other(
    eca_plan: Callable[..., Plan], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    stage = student_of(eca_plan(cloth, training={"epochs": 1, "batch_size": 8}))
    # 8 images; at 32 x 32 layers 2 to 5 have 8192, 4096, 2048 and 512 values.
    context = context_of(cloth, budget_bytes=8 * (8192 + 4096 + 2048 + 512) * 4)
    assert run(stage, context, session) == {}
    (line,) = session.said
    assert "the teacher runs live on the test images" in line


def test_a_pack_that_was_tried_out_first_says_so_too_and_once(
    eca_plan: Callable[..., Plan], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    plan = eca_plan(cloth, seeds=[0, 1], training={"epochs": 1, "batch_size": 8})
    (pack,) = plan.packs()
    assert len(pack.stages) == 2
    assert run_pack(pack, context_of(cloth, budget_bytes=0), World(), session) == {}
    about = [line for line in session.said if "live on the training images" in line]
    assert len(about) == len(set(about)) > 0


# Resume


@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_a_run_killed_and_resumed_ends_in_the_same_bytes(
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    context_of: SiteOf,
    recorder: Any,
    killed: type[Exception],
    without_seconds: Callable[..., list[dict[str, float]]],
    tmp_path: Path,
    cache_bytes: int | None,
) -> None:
    stage = student_of(eca_plan(cloth))
    undisturbed, resumed = (
        context_of(cloth, name, checkpoint_every=1, budget_bytes=cache_bytes)
        for name in ("undisturbed", "resumed")
    )
    assert run(stage, undisturbed, recorder()) == {}
    with pytest.raises(killed):
        run(stage, resumed, recorder(stop_after=1))
    assert not resumed.store.has(stage.key)
    # The teacher is fixed: 59 MB of it in every checkpoint would be waste.
    (state,) = (tmp_path / "resumed").glob("checkpoints/*/*")
    assert state.stat().st_size < 10e6
    torch.manual_seed(12345)  # another process, with random numbers of its own
    again = recorder()
    assert run(stage, resumed, again) == {}
    assert [row["epoch"] for row in again.reported] == [1, 2]
    for name in (NETWORKS, SCORES, SHOWN, CAPTIONS):
        assert resumed.store.read(stage.key, name) == undisturbed.store.read(stage.key, name), name
    one, other = (without_seconds(s.store.read(stage.key, HISTORY)) for s in (undisturbed, resumed))
    assert one == other
    assert len(one) == 2


def test_a_stage_in_the_store_is_not_trained_again(
    on_cloth: tuple[Store, Stage], cloth: ImageSet, session: Any
) -> None:
    store, stage = on_cloth

    def nobody() -> Any:
        raise AssertionError("the teacher was asked for")

    assert (
        run(
            stage,
            context_in(store, cloth, read_pretrained=nobody),
            session,
        )
        == {}
    )
    assert session.reported == []


# What may differ, and what may not


def test_another_category_of_the_dataset_does_not_matter(
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    on_cloth: tuple[Store, Stage],
    context_of: SiteOf,
    session: Any,
) -> None:
    kept, _ = on_cloth
    own = {"cloth": cloth.fingerprint_of("cloth")}
    more = replace(cloth, fingerprint="f" * 64, class_fingerprints={**own, "wood": "0" * 64})
    stage, context = student_of(eca_plan(cloth)), context_of(more)
    assert run(stage, context, session) == {}
    assert context.store.read(stage.key, NETWORKS) == kept.read(stage.key, NETWORKS)


def test_another_content_of_the_category_itself_is_refused(
    on_cloth: tuple[Store, Stage], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    _, stage = on_cloth
    other = replace(cloth, class_fingerprints={"cloth": "f" * 64})
    failures = run(stage, context_of(other), session)
    assert failures == {
        stage.key: f"DataError: dataset {stage.dataset} is not the one the sweep was "
        f"planned with (fingerprint ffffffffffff, planned {stage.fingerprint[:12]})"
    }


def test_seeds_and_placements_make_other_students(
    eca_trained: Any,
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    context_of: SiteOf,
    session: Any,
) -> None:
    (one, other), store = eca_trained.plan.stages.values(), eca_trained.store
    assert read_scores(store, one).scores.tolist() != read_scores(store, other).scores.tolist()
    stage = student_of(eca_plan(cloth, seeds=[1]))
    context = context_of(cloth)
    assert run(stage, context, session) == {}
    assert context.store.read(stage.key, NETWORKS) != store.read(one.key, NETWORKS)


def test_maps_kept_in_half_precision_train_nearly_the_same(
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    on_cloth: tuple[Store, Stage],
    context_of: SiteOf,
    session: Any,
) -> None:
    kept, full = on_cloth
    plan = eca_plan(cloth, teacher={"weights": "random", "precision": "float16"})
    stage, context = student_of(plan), context_of(cloth)
    assert run(stage, context, session) == {}
    assert context.store.read(stage.key, NETWORKS) != kept.read(full.key, NETWORKS)
    np.testing.assert_allclose(
        read_scores(context.store, stage).scores, read_scores(kept, full).scores, rtol=0.02
    )


def test_a_run_that_diverges_is_a_failure_with_a_reason(
    eca_plan: Callable[..., Plan], cloth: ImageSet, context_of: SiteOf, session: Any
) -> None:
    training = {"epochs": 2, "batch_size": 4, "lr": 1e30}
    stage, context = student_of(eca_plan(cloth, training=training)), context_of(cloth)
    failures = run(stage, context, session)
    assert failures[stage.key].startswith("Diverged: ")
    assert not context.store.has(stage.key)


def test_captions_are_plain_json(on_cloth: tuple[Store, Stage]) -> None:
    store, stage = on_cloth
    captions = json.loads(store.read(stage.key, CAPTIONS))
    assert [set(one) for one in captions] == [{"caption", "novel", "score"}] * 4
