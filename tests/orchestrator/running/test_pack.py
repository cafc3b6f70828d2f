"""One pack from its parents to the store: real, tiny trainings without Ray."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contexts import context_in

from kd_models.data import ImageSet
from kd_models.evaluation.metrics import auroc, aurocs
from kd_models.evaluation.protocol import holdout_split
from kd_models.methods.base import CannotTrain
from kd_models.methods.pkdgan.step import GanLearner
from kd_models.training.epochs import train_together
from kd_models.world import World
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext
from orchestrator.running.inputs import PackInputs
from orchestrator.running.pack import run_pack
from orchestrator.running.stack import stack_size
from orchestrator.store import open_store
from orchestrator.store.record import (
    HISTORY,
    IDENTITY,
    NETWORKS,
    SCORES,
    check_identity,
    read_history,
    read_networks,
    read_scores,
)
from orchestrator.store.stages import Store

AUROCS = {"auroc", "val_auroc", "test_auroc"}
TERMS = {
    "teacher": {"teacher/con", "teacher/enc", "teacher/adv", "teacher/ce_real", "teacher/ce_fake"},
    "kdgan-2": {
        "student/con",
        "student/enc",
        "student/adv",
        "kd/k1",
        "kd/kx",
        "kd/k2",
        "student/ce_real",
        "student/ce_fake",
    },
}

FIRST = "encoder.features.0.weight"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def session(recorder: Any) -> Any:
    return recorder()


@pytest.fixture
def context(store: Store, digits: ImageSet) -> RunContext:
    return context_in(store, digits)


def chain(plan: Plan) -> list[Stage]:
    """The stages of a plan's last candidate."""
    return [plan.stages[key] for key in plan.candidates[-1].stages]


def run(stage: Stage, context: RunContext, session: Any) -> dict[str, str]:
    return run_pack(Pack.of([stage]), context, World(), session)


def copy(source: Store, target: Store, stage: Stage) -> None:
    names = (NETWORKS, SCORES, HISTORY)
    target.write(stage.key, {name: source.read(stage.key, name) for name in names})


# What is stored


def test_a_chain_is_stored_whole(trained: Any) -> None:
    for stage in trained.plan.stages.values():
        assert trained.store.has(stage.key)
        check_identity(trained.store, stage)


def test_only_networks_that_were_trained_are_stored(trained: Any) -> None:
    found = {
        stage.title: set(read_networks(trained.store, key))
        for key, stage in trained.plan.stages.items()
    }
    assert found == {
        "digits 0 teacher": {"teacher.generator", "teacher.discriminator"},
        "digits 0 kdgan-2": {"student.generator", "student.discriminator"},
        "digits 0 kdgan-3 as second step": {
            "student.generator",
            "teacher.generator",
            "teacher.discriminator",
        },
    }


def test_history_has_one_row_per_epoch_with_every_term_and_auroc(trained: Any) -> None:
    for stage in chain(trained.plan)[:2]:
        rows = read_history(trained.store, stage)
        assert [row["epoch"] for row in rows] == [1, 2]
        for row in rows:
            assert row.keys() == {
                "epoch",
                "seconds",
                "loss/0",
                "loss/1",
                *AUROCS,
                *TERMS[stage.step.name],
            }
            assert row["seconds"] > 0
            assert all(np.isfinite(value) for value in row.values())


def test_aurocs_come_only_where_they_are_asked_for_and_at_the_end(
    real_plan: Callable[..., Plan], context: RunContext, session: Any
) -> None:
    stage = chain(real_plan(structures=["alone"], training={"epochs": 5, "batch_size": 64}))[0]
    assert run(stage, replace(context, evaluate_every=2), session) == {}
    evaluated = [
        row["epoch"] for row in read_history(context.store, stage) if row.keys() & AUROCS == AUROCS
    ]
    assert evaluated == [2, 4, 5]
    assert not any(row.keys() & AUROCS for row in session.reported[::2][:2])


def test_scores_are_those_of_the_last_epochs_student_on_the_whole_test_split(
    trained: Any, digits: ImageSet
) -> None:
    for stage in trained.plan.stages.values():
        scores = read_scores(trained.store, stage)
        assert scores.labels.tolist() == digits.test.labels.tolist()
        assert scores.novel.tolist() == (digits.test.labels != 0).tolist()
        split = holdout_split(scores.labels)
        last = read_history(trained.store, stage)[-1]
        assert {name: last[name] for name in AUROCS} == aurocs(scores.scores, scores.novel, split)
        assert last["auroc"] == auroc(scores.scores, scores.novel)


def test_a_second_step_goes_on_from_both_networks(
    trained: Any, real_plan: Callable[..., Plan], digits: ImageSet, session: Any, tmp_path: Path
) -> None:
    # With a learning rate of next to nothing, a step ends where it started.
    still = {"epochs": 1, "batch_size": 32, "lr": 1e-30}
    plan = real_plan(structures=["p-kdgan-24"], training=still)
    teacher, first, second = chain(plan)
    store = open_store(str(tmp_path / "store"))
    for stage, source in zip((teacher, first), chain(trained.plan)[:2], strict=True):
        names = (NETWORKS, SCORES, HISTORY)
        store.write(stage.key, {n: trained.store.read(source.key, n) for n in names})
    assert run(second, context_in(store, digits), session) == {}
    found = read_networks(store, second.key)
    expected = read_networks(store, teacher.key) | read_networks(store, first.key)
    assert found.keys() == expected.keys()
    for network, weights in expected.items():
        for name, tensor in weights.items():
            if "running" not in name and "tracked" not in name:
                torch.testing.assert_close(found[network][name], tensor, rtol=1e-6, atol=0)


def test_a_stored_teacher_never_changes(trained: Any) -> None:
    teacher, _, second = chain(trained.plan)
    before = read_networks(trained.store, teacher.key)["teacher.generator"]
    after = read_networks(trained.store, second.key)["teacher.generator"]
    assert not torch.equal(before[FIRST], after[FIRST])
    assert trained.store.has(teacher.key)


# Resume


@pytest.mark.parametrize("structure", ["alone", "kdgan-4"])
@pytest.mark.parametrize(("every", "stop"), [(1, 1), (2, 3)])
def test_a_run_stopped_and_resumed_equals_one_never_stopped_bit_for_bit(
    trained: Any,
    real_plan: Callable[..., Plan],
    digits: ImageSet,
    recorder: Any,
    killed: type[Exception],
    without_seconds: Callable[..., list[dict[str, float]]],
    tmp_path: Path,
    structure: str,
    every: int,
    stop: int,
) -> None:
    teacher = {"widths": (1, 2, 4), "training": {"epochs": 2}}
    training = {"epochs": 4, "batch_size": 32}
    *parents, stage = chain(real_plan(structures=[structure], training=training, teacher=teacher))
    stores = [open_store(str(tmp_path / name)) for name in ("undisturbed", "resumed")]
    for store in stores:
        for parent in parents:
            copy(trained.store, store, parent)
    undisturbed, resumed = (context_in(store, digits, checkpoint_every=every) for store in stores)
    assert run(stage, undisturbed, recorder()) == {}

    with pytest.raises(killed):
        run(stage, resumed, recorder(stop_after=stop))
    assert not resumed.store.has(stage.key)
    torch.manual_seed(12345)  # another process, with random numbers of its own
    again = recorder()
    assert run(stage, resumed, again) == {}

    saved = stop - stop % every
    # The saved epochs are reported again, all at once: the process may have died before it did.
    assert [len(rows) for rows in again.reports] == [saved] * (saved > 0) + [1] * (4 - saved)
    assert [row["epoch"] for row in again.reported] == [1, 2, 3, 4]
    for name in (NETWORKS, SCORES):
        assert resumed.store.read(stage.key, name) == undisturbed.store.read(stage.key, name)
    one, other = (without_seconds(s.store.read(stage.key, HISTORY)) for s in (undisturbed, resumed))
    assert one == other
    assert len(one) == 4


def test_without_a_checkpoint_a_killed_run_starts_again_and_ends_the_same(
    trained: Any,
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
) -> None:
    teacher = chain(trained.plan)[0]
    with pytest.raises(killed):
        run(teacher, context, recorder(stop_after=1))
    again = recorder()
    assert run(teacher, context, again) == {}
    assert [row["epoch"] for row in again.reported] == [1, 2]
    assert context.store.read(teacher.key, NETWORKS) == trained.store.read(teacher.key, NETWORKS)


def test_checkpoints_come_when_due_but_not_after_the_last_epoch(
    real_plan: Callable[..., Plan], context: RunContext, session: Any
) -> None:
    training = {"epochs": 4, "batch_size": 64}
    stage = chain(real_plan(structures=["alone"], training=training))[0]
    assert run(stage, replace(context, checkpoint_every=2), session) == {}
    kept = context.checkpoints.load([stage], World()).checkpoints[stage.key]
    assert (kept.state.epoch, len(kept.history)) == (2, 2)


def test_a_checkpoint_of_another_stage_is_not_this_ones(
    real_plan: Callable[..., Plan],
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
) -> None:
    stages = [
        chain(real_plan(structures=["alone"], seeds=[seed], normal_classes=[1]))[0]
        for seed in (0, 1)
    ]
    eager = replace(context, checkpoint_every=1)
    with pytest.raises(killed):
        run(stages[0], eager, recorder(stop_after=1))
    session = recorder()
    assert run(stages[1], eager, session) == {}
    assert [row["epoch"] for row in session.reported] == [1, 2]


# What is there already


def test_a_stage_in_the_store_is_not_trained_again(
    trained: Any, digits: ImageSet, session: Any
) -> None:
    def files() -> dict[Path, int]:
        root = Path(trained.store.uri)
        return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}

    before = files()
    pack = Pack.of(tuple(trained.plan.stages.values()))
    context = context_in(trained.store, digits)
    assert run_pack(pack, context, World(), session) == {}
    assert session.reported == []
    assert files() == before


def test_a_stage_that_is_damaged_and_was_discarded_is_trained_again(
    trained: Any, context: RunContext, session: Any, blob_of: Callable[..., Path]
) -> None:
    teacher = chain(trained.plan)[0]
    copy(trained.store, context.store, teacher)
    path = blob_of(context.store, teacher.key, NETWORKS)
    path.write_bytes(path.read_bytes()[:-1])
    context.store.discard(teacher.key)
    assert run(teacher, context, session) == {}
    assert len(session.reported) == 2
    assert context.store.read(teacher.key, NETWORKS) == trained.store.read(teacher.key, NETWORKS)


# Packs


@pytest.fixture(scope="module")
def teachers_and_students(
    real_plan: Callable[..., Plan],
    digits: ImageSet,
    recorder: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Store, Pack]:
    """A store of teachers, and their students: of two classes with two weightings each."""
    plan = real_plan(
        normal_classes=[0, 1],
        loss_weights=[{}, {"k2": 5.0}],
        training={"epochs": 4, "batch_size": 32},
    )
    teachers, students = plan.packs()
    store = open_store(str(tmp_path_factory.mktemp("teachers")))
    session = recorder()
    context = context_in(store, digits)
    assert run_pack(teachers, context, World(), session) == {}
    return store, students


@pytest.fixture
def pack(teachers_and_students: tuple[Store, Pack], store: Store) -> Pack:
    """Students of two classes with two weightings each, whose teachers are in the store."""
    of_teachers, students = teachers_and_students
    shutil.copytree(of_teachers.uri, store.uri)
    return students


def scores_of(store: Store, pack: Pack) -> list[Any]:
    return [read_scores(store, stage).scores for stage in pack.stages]


def test_stages_of_a_pack_are_stored_as_if_each_had_been_trained_alone(
    pack: Pack, context: RunContext, tmp_path: Path, recorder: Any
) -> None:
    assert len(pack.stages) == 4
    other = open_store(str(tmp_path / "other"))
    for parent in pack.parents:
        other.write(
            parent, {name: context.store.read(parent, name) for name in (NETWORKS, IDENTITY)}
        )
    for stage in pack.stages:
        session = recorder()
        assert run(stage, replace(context, store=other), session) == {}
    session = recorder()
    assert run_pack(pack, context, World(), session) == {}
    for stage in pack.stages:
        check_identity(context.store, stage)
        one, alone = (read_networks(store, stage.key) for store in (context.store, other))
        assert {n: set(w) for n, w in one.items()} == {n: set(w) for n, w in alone.items()}
        rows, expected = (read_history(store, stage) for store in (context.store, other))
        assert [row.keys() for row in rows] == [row.keys() for row in expected]
    found, expected = scores_of(context.store, pack), scores_of(other, pack)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-2)
    assert len({tuple(scores) for scores in found}) == 4


@pytest.mark.parametrize("lanes", [1, 3])
def test_set_lanes_are_used(
    lanes: int, pack: Pack, context: RunContext, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(trainings: Any, *arguments: Any, **named: Any) -> Any:
        sizes.append(len(trainings))
        return train_together(trainings, *arguments, **named)

    monkeypatch.setattr("orchestrator.running.stack.train_together", counted)
    assert run_pack(pack, replace(context, lanes=lanes), World(), session) == {}
    assert sizes == {1: [1] * 4, 3: [2, 2]}[lanes]


def test_a_fixed_teacher_sees_a_class_once_for_all_lanes(
    pack: Pack, context: RunContext, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    targets = GanLearner.targets

    def counted(self: GanLearner, images: Any, world: World) -> Any:
        seen.append(len(images))
        return targets(self, images, world)

    monkeypatch.setattr(GanLearner, "targets", counted)
    assert run_pack(pack, context, World(), session) == {}
    assert len(seen) == 2


def test_a_killed_pack_goes_on_from_its_checkpoint(
    pack: Pack,
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
) -> None:
    eager = replace(context, checkpoint_every=1)
    with pytest.raises(killed):
        run_pack(pack, eager, World(), recorder(stop_after=3))
    again = recorder()
    assert run_pack(pack, eager, World(), again) == {}
    assert [[row["epoch"] for row in rows] for rows in again.reports] == [
        *[[1, 2, 3]] * 4,
        *[[4]] * 4,
    ]


def test_a_lane_that_failed_before_a_kill_is_still_failed_after_it(
    real_plan: Callable[..., Plan],
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
) -> None:
    training = {"epochs": 3, "batch_size": 32}
    weights = [{"con": 1e39}, {}, {"enc": 2.0}]
    (pack,) = real_plan(structures=["alone"], loss_weights=weights, training=training).packs()
    eager = replace(context, checkpoint_every=1)
    with pytest.raises(killed):
        run_pack(pack, eager, World(), recorder(stop_after=2))
    session = recorder()
    failures = run_pack(pack, eager, World(), session)
    assert failures.keys() == {pack.stages[0].key}
    assert "in epoch 1" in failures[pack.stages[0].key]
    assert [row["epoch"] for row in session.reported] == [1, 2, 1, 2, 3, 3]


def test_what_was_in_the_way_before_a_kill_and_is_gone_after_it_is_trained(
    pack: Pack,
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
    blob_of: Callable[..., Path],
) -> None:
    """Only what diverged would diverge again; a parent that was damaged may be whole now."""
    path = blob_of(context.store, pack.stages[0].parents[0], NETWORKS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    eager = replace(context, checkpoint_every=1)
    with pytest.raises(killed):
        run_pack(pack, eager, World(), recorder(stop_after=2))
    path.write_bytes(whole)
    assert run_pack(pack, eager, World(), recorder()) == {}
    assert all(context.store.has(stage.key) for stage in pack.stages)


def test_a_stage_whose_checkpoint_is_damaged_begins_again_and_says_so(
    pack: Pack,
    context: RunContext,
    recorder: Any,
    killed: type[Exception],
) -> None:
    eager = replace(context, checkpoint_every=1)
    with pytest.raises(killed):
        run_pack(pack, eager, World(), recorder(stop_after=2))
    damaged = pack.stages[0]
    path = Path(context.store.uri) / f"checkpoints/{damaged.key[:2]}/{damaged.key}"
    path.write_bytes(path.read_bytes()[:2000])
    session = recorder()
    assert run_pack(pack, eager, World(), session) == {}
    (line,) = session.said
    assert line.startswith(
        f"warning: {damaged.title} begins again: its checkpoint cannot be read (RuntimeError: "
    )
    # Three go on after their second epoch, the fourth from its first.
    assert [len(rows) for rows in session.reports[:3]] == [2, 2, 2]
    assert [row["epoch"] for row in session.reported].count(1) == 4
    assert [len(read_history(context.store, stage)) for stage in pack.stages] == [4] * 4


def test_how_many_to_train_at_once_is_measured(
    real_plan: Callable[..., Plan], context: RunContext
) -> None:
    recipe = {"epochs": 60, "batch_size": 64}
    plan = real_plan(structures=["alone"], seeds=list(range(6)), training=recipe)
    inputs = PackInputs(context, World())
    assert 1 <= stack_size(list(plan.stages.values()), context, inputs, World()) <= 6
    assert stack_size(list(plan.stages.values())[:1], context, inputs, World()) == 1
    short = real_plan(structures=["alone"], seeds=list(range(6)))
    assert stack_size(list(short.stages.values()), context, inputs, World()) == 6


def test_one_that_cannot_be_prepared_spoils_no_measurement(
    real_plan: Callable[..., Plan], context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"epochs": 60, "batch_size": 64}
    plan = real_plan(structures=["alone"], seeds=list(range(6)), training=recipe)
    tried: list[int] = []

    def fastest(make: Any, most: int, *arguments: Any) -> int:
        tried.extend(len(make(size)) for size in (1, 4, 6))
        return 1

    calls = iter(range(1000))

    def refuse(self: GanLearner, images: Any, world: World) -> None:
        if next(calls) % 6 == 0:  # the first of the stages, each time
            raise CannotTrain("the covariance has no inverse")

    monkeypatch.setattr("orchestrator.running.stack.fastest_size", fastest)
    monkeypatch.setattr(GanLearner, "prepare", refuse)
    inputs = PackInputs(context, World())
    assert stack_size(list(plan.stages.values()), context, inputs, World()) == 1
    assert tried[0] == 1
    assert tried[1:] == [4, 5]


# Failures


def test_a_run_that_diverges_is_a_failure_with_a_reason(
    real_plan: Callable[..., Plan], context: RunContext, session: Any
) -> None:
    training = {"epochs": 3, "batch_size": 32, "lr": 1e20}
    stage = chain(real_plan(structures=["alone"], training=training))[0]
    failures = run(stage, context, session)
    assert failures.keys() == {stage.key}
    assert failures[stage.key].startswith("Diverged: ")
    assert "not finite" in failures[stage.key]
    assert not context.store.has(stage.key)


def test_one_stages_failure_keeps_no_other_from_being_trained(
    real_plan: Callable[..., Plan], context: RunContext, session: Any
) -> None:
    plan = real_plan(structures=["alone"], loss_weights=[{"con": 1e39}, {}])
    bad, good = plan.stages.values()
    failures = run_pack(Pack.of([bad, good]), context, World(), session)
    assert failures.keys() == {bad.key}
    assert "loss/0" in failures[bad.key]
    assert not context.store.has(bad.key)
    assert context.store.has(good.key)


@pytest.mark.parametrize("hook", ["prepare", "calibrate"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_a_learner_that_cannot_be_trained_fails_alone(
    real_plan: Callable[..., Plan],
    context: RunContext,
    session: Any,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    lanes: int,
) -> None:
    plan = real_plan(structures=["alone"], seeds=[0, 1, 2])
    first, bad, last = plan.stages.values()
    calls: list[GanLearner] = []

    def refuse(self: GanLearner, images: Any, world: World) -> None:
        if self not in calls:
            calls.append(self)
        if calls.index(self) == 1:
            raise CannotTrain("the covariance has no inverse")

    monkeypatch.setattr(GanLearner, hook, refuse)
    pack = Pack.of([first, bad, last])
    failures = run_pack(pack, replace(context, lanes=lanes), World(), session)
    assert failures == {bad.key: "CannotTrain: the covariance has no inverse"}
    assert [context.store.has(stage.key) for stage in pack.stages] == [True, False, True]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_how_often_a_stage_is_evaluated_does_not_decide_what_becomes_of_it(
    real_plan: Callable[..., Plan],
    context: RunContext,
    session: Any,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
) -> None:
    training = {"epochs": 3, "batch_size": 64}
    stage = chain(real_plan(structures=["alone"], training=training))[0]
    evaluations = [epoch for epoch in (1, 2, 3) if epoch % every == 0 or epoch == 3]
    number = iter(evaluations)

    def too_early(self: GanLearner, images: Any, world: World) -> None:
        if next(number) < 3:
            raise CannotTrain("nothing is learned yet")

    monkeypatch.setattr(GanLearner, "calibrate", too_early)
    assert run(stage, replace(context, evaluate_every=every), session) == {}
    found = [row["epoch"] for row in read_history(context.store, stage) if "auroc" in row]
    assert found == [3]


def test_another_dataset_than_the_planned_one_is_refused(
    trained: Any, context: RunContext, digits: ImageSet, session: Any
) -> None:
    teacher = chain(trained.plan)[0]
    other = replace(digits, fingerprint="f" * 64)
    failures = run(teacher, replace(context, images=lambda name: other), session)
    assert failures == {
        teacher.key: "DataError: dataset digits is not the one the sweep was planned with "
        f"(fingerprint ffffffffffff, planned {teacher.fingerprint[:12]})"
    }
    assert session.reported == []


def test_a_missing_parent_is_a_failure_that_names_it(
    trained: Any, context: RunContext, session: Any
) -> None:
    teacher, first, _ = chain(trained.plan)
    failures = run(first, context, session)
    assert failures.keys() == {first.key}
    assert failures[first.key].startswith(
        f"CorruptStage: parent stage {teacher.key} is not in the store; "
    )


def test_a_corrupt_parent_is_a_failure_that_names_the_file(
    trained: Any, context: RunContext, session: Any, blob_of: Callable[..., Path]
) -> None:
    teacher, first, _ = chain(trained.plan)
    copy(trained.store, context.store, teacher)
    path = blob_of(context.store, teacher.key, NETWORKS)
    path.write_bytes(path.read_bytes()[:-1])
    failures = run(first, context, session)
    assert failures.keys() == {first.key}
    assert f"{NETWORKS} of stage {teacher.key} is not what its manifest says" in failures[first.key]
    assert path.name in failures[first.key]
    assert "--verify" in failures[first.key]


def test_too_few_images_for_the_task_are_a_failure(
    trained: Any, context: RunContext, digits: ImageSet, session: Any
) -> None:
    teacher = chain(trained.plan)[0]
    novel = digits.test.labels != 0
    test = replace(digits.test, images=digits.test.images[novel], labels=digits.test.labels[novel])
    gone = replace(digits, test=test)
    failures = run(teacher, replace(context, images=lambda name: gone), session)
    assert "0 normal test images" in failures[teacher.key]


def test_what_may_not_happen_again_is_raised_rather_than_reported(
    trained: Any, context: RunContext, session: Any
) -> None:
    def lost(name: str) -> ImageSet:
        raise ConnectionError(name)

    with pytest.raises(ConnectionError):
        run(chain(trained.plan)[0], replace(context, images=lost), session)


@dataclass(frozen=True)
class BesideOneThatCannotRead(World):
    """A world whose other process, on a machine without the photographs, has just said so."""

    def gather(self, value: Any) -> list[Any]:
        is_error = value is None or isinstance(value, str)
        return [value, "the folder is not there" if is_error else value]


def test_what_another_worker_cannot_read_fails_the_stage_here_too(
    real_plan: Callable[..., Plan], digits: ImageSet, tmp_path: Path, recorder: Any
) -> None:
    store = open_store(str(tmp_path / "store"))
    (stage, *_) = real_plan().stages.values()
    session = recorder()
    context = context_in(store, digits)
    failures = run_pack(Pack.of([stage]), context, BesideOneThatCannotRead(), session)
    assert failures == {stage.key: "DataError: in another worker: the folder is not there"}
    assert not store.has(stage.key)
    assert session.reported == []
