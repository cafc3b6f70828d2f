"""What MLflow holds of a sweep, with a real database and stages really trained."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kd_models.data import ImageSet, one_class
from kd_models.evaluation.protocol import EvaluationProtocol
from kd_models.package import Package
from orchestrator.exporting import Exporter
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.planning.storage import StorageSpec
from orchestrator.reporting.results import (
    CandidateResult,
    candidate_result,
    evaluation_of,
    stage_result,
)
from orchestrator.reporting.tables import candidates_table, render_plain
from orchestrator.store.record import read_history, read_scores
from orchestrator.store.stages import Store
from orchestrator.tracking.client import TrackingError, connect
from orchestrator.tracking.registry import fetch, finished_candidates, register
from orchestrator.tracking.runs import Tracker

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]

STRUCTURES = {"teacher": "stage", "kdgan-2": "candidate", "p-kdgan-23": "candidate"}


@pytest.fixture(autouse=True)
def away_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sweep(
    request: pytest.FixtureRequest, trained: Any, storage: StorageSpec
) -> Callable[..., tuple[Tracker, Plan]]:
    """A tracker for the trained stages under a sweep's name of the test's own; again for a restart.

    It shares the database with ``logged``: setting one up takes seconds.
    """
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)

    def start(**changes: Any) -> tuple[Tracker, Plan]:
        spec = trained.plan.spec.model_copy(update={"name": name, **changes})
        plan = replace(trained.plan, spec=spec)
        return Tracker(plan, trained.store, storage), plan

    return start


@pytest.fixture
def runs(storage: StorageSpec) -> Callable[[Tracker], dict[str, Any]]:
    """Runs of a tracker's experiment by stage key, the sweep's own under an empty key."""
    client = connect(storage.mlflow_uri)

    def search(tracker: Tracker) -> dict[str, Any]:
        found = client.search_runs([tracker.experiment_id])
        keys = [run.data.tags.get("stage_key", "") for run in found]
        assert len(set(keys)) == len(keys), "a stage has two runs"
        return dict(zip(keys, found, strict=True))

    return search


def stages(plan: Plan) -> Iterator[Stage]:
    return iter(plan.stages.values())


def finish(
    tracker: Tracker,
    store: Store,
    stage: Stage,
    candidate: CandidateResult | None = None,
    protocol: EvaluationProtocol = "holdout",
) -> None:
    tracker.finish_stage(stage_result(stage, store, protocol), candidate)


def teacher_of(plan: Plan) -> Stage:
    return next(stages(plan))


def files(client: Any, run_id: str, path: str | None = None) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run_id, path)}


# What is logged


def test_a_sweep_is_an_experiment_below_its_root(logged: Any) -> None:
    experiment = logged.client.get_experiment(logged.experiment_id)
    assert experiment.name == "tiny"
    assert experiment.artifact_location == f"file://{logged.storage.root}/mlartifacts/tiny"


def test_the_sweeps_own_run_holds_its_settings(logged: Any) -> None:
    run = logged.runs[""]
    assert run.data.tags.items() >= {"role": "sweep", "sweep": "tiny", "methods": "pkdgan"}.items()
    text = logged.client.download_artifacts(run.info.run_id, "sweep.yaml")
    assert yaml.safe_load(Path(text).read_text()) == logged.plan.spec.as_written()


def test_every_stage_has_one_run_below_the_sweeps(logged: Any) -> None:
    runs = logged.runs
    assert runs.keys() == {"", *logged.plan.stages}
    for key, run in runs.items():
        if key:
            assert run.data.tags["mlflow.parentRunId"] == runs[""].info.run_id
            assert run.info.status == "FINISHED"


def test_a_run_can_be_found_by_everything_a_stage_is(logged: Any) -> None:
    for key, stage in logged.plan.stages.items():
        tags = logged.runs[key].data.tags
        structure = tags["structure"]
        assert tags["role"] == STRUCTURES[structure]
        assert tags["step"] == stage.step.structure
        expected = {
            "sweep": "tiny",
            "method": "pkdgan",
            "dataset": "digits",
            "normal_class": "0",
            "seed": "0",
            "parent_keys": ",".join(stage.parents),
            "complete": "holdout",
        }
        assert tags.items() >= expected.items()
    assert {run.data.tags["structure"] for k, run in logged.runs.items() if k} == set(STRUCTURES)


def test_settings_are_parameters(logged: Any) -> None:
    params = logged.run_of("p-kdgan-23").data.params
    expected = {
        "method": "pkdgan",
        "normal_class": "0",
        "recipe.lr": "0.0002",  # a tenth of the first step's
        "recipe.betas": "0.5-0.999",
        "recipe.epochs": "2",
        "recipe.schedule": "cosine",
        "step.structure": "kdgan-3",
        "step.student.widths": "1-2-4",
        "step.teacher_weights.con": "10.0",
        "step.distillation_weights.kx": "1.0",
        "step.joint_teacher": "False",
        "seed": "0",
        "fingerprint": teacher_of(logged.plan).fingerprint,
    }
    assert params.items() >= expected.items()
    assert not [name for name in params if name.startswith("step.student_weights")]


def test_every_term_and_auroc_of_every_epoch_is_a_metric(logged: Any) -> None:
    for key, stage in logged.plan.stages.items():
        run = logged.runs[key]
        history = read_history(logged.store, stage)
        assert history[0].keys() >= {"loss/0", "auroc", "val_auroc", "test_auroc"}
        for name in history[0]:
            points = logged.client.get_metric_history(run.info.run_id, name)
            found = sorted((point.step, point.value) for point in points)
            assert found == [(row["epoch"], row[name]) for row in history], name


def test_final_metrics_are_those_of_the_stored_scores(logged: Any) -> None:
    teacher = teacher_of(logged.plan)
    teacher_auroc = evaluation_of(read_scores(logged.store, teacher), "paper").auroc
    for key, stage in logged.plan.stages.items():
        metrics = logged.runs[key].data.metrics
        found = evaluation_of(read_scores(logged.store, stage), "holdout")
        for name in ("auroc", "val_auroc", "test_auroc", "threshold", "gmean", "fpr", "fnr"):
            assert metrics[name] == getattr(found, name), name
        assert (metrics["params"], metrics["flops"]) == (49722, 76416)
        if stage is teacher:
            assert "teacher_auroc" not in metrics
        else:
            assert metrics["teacher_auroc"] == teacher_auroc
            assert metrics["difference_to_teacher"] == found.auroc - teacher_auroc


def test_the_dataset_is_an_input(logged: Any, digits: ImageSet) -> None:
    for key in logged.plan.stages:
        (found,) = logged.runs[key].inputs.dataset_inputs
        assert found.dataset.name == "digits"
        assert digits.fingerprint.startswith(found.dataset.digest)
        assert len(found.dataset.digest) == 36


@pytest.mark.parametrize("figure", ["roc.png", "scores.png"])
def test_every_stage_has_its_figures(logged: Any, figure: str) -> None:
    for key in logged.plan.stages:
        path = logged.client.download_artifacts(logged.runs[key].info.run_id, figure)
        content = Path(path).read_bytes()
        assert content.startswith(b"\x89PNG\r\n")
        assert len(content) > 5000


def test_only_students_have_packages(logged: Any) -> None:
    for structure in STRUCTURES:
        run = logged.run_of(structure)
        assert ("package" in files(logged.client, run.info.run_id)) == (structure != "teacher")


def test_the_package_says_everything_about_the_student(logged: Any, digits: ImageSet) -> None:
    run = logged.run_of("p-kdgan-23")
    folder = Path(logged.client.download_artifacts(run.info.run_id, "package"))
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    }
    package = Package.load(folder)
    config, metrics = package.config, run.data.metrics
    assert config.axes["structure"] == "p-kdgan-23"
    assert (config.dataset, config.normal_class, config.normal_class_name) == ("digits", "0", "0")
    assert config.stage_key == logged.plan.candidates[1].key
    assert config.threshold == metrics["threshold"]
    measured = config.measured.model_dump()
    assert measured.pop("protocol") == "holdout"
    cost = config.measured.cost.as_metrics()
    assert measured.pop("cost").keys() == {"deployed", "student"}
    measured |= cost
    assert measured == {name: metrics[name] for name in measured}
    stored = read_scores(logged.store, logged.plan.stages[config.stage_key])
    scores = package.score(one_class(digits, "0", image_size=32, channels=1).test)
    torch.testing.assert_close(scores.double(), torch.from_numpy(stored.scores))


# Logging again


def snapshot(logged: Any) -> dict[str, Any]:
    """Everything that logging twice could double."""
    points = {
        (run.info.run_id, name): len(logged.client.get_metric_history(run.info.run_id, name))
        for run in logged.runs.values()
        for name in run.data.metrics
    }
    ended = {run.info.run_id: (run.info.status, run.info.end_time) for run in logged.runs.values()}
    return {"points": points, "ended": ended}


def test_logging_again_after_a_restart_adds_nothing(
    logged: Any, trained: Any, finish_all: Callable[..., None]
) -> None:
    before = snapshot(logged)
    assert len(before["ended"]) == 4
    tracker = Tracker(trained.plan, trained.store, logged.storage)
    for _ in range(2):
        for stage in stages(trained.plan):
            tracker.log_epochs(stage, read_history(trained.store, stage))
        finish_all(tracker, trained.plan, trained.store)
    assert snapshot(logged) == before


def test_of_epochs_only_new_ones_are_logged(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    storage: StorageSpec,
) -> None:
    rows = [{"epoch": n, "seconds": 1.0, "kd/k1": 1 / n} for n in (1, 2, 3, 4)]
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.log_epochs(stage, rows[:1])
    tracker.log_epochs(stage, rows[:2])
    tracker.log_epochs(stage, rows[:2])
    restarted, _ = sweep()
    restarted.log_epochs(stage, rows[1:3])
    restarted.log_epochs(stage, rows)
    client = connect(storage.mlflow_uri)
    points = client.get_metric_history(runs(restarted)[stage.key].info.run_id, "kd/k1")
    assert [(point.step, point.value) for point in points] == [(n, 1 / n) for n in (1, 2, 3, 4)]


def test_an_epoch_whose_news_were_lost_is_logged_later(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    storage: StorageSpec,
) -> None:
    """What a worker had not reported yet when it was killed is lost."""
    rows = [{"epoch": n, "kd/k1": 1 / n} for n in (1, 2, 3, 4, 5)]
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.log_epochs(stage, rows[:1])
    tracker.log_epochs(stage, rows[3:])
    tracker.log_epochs(stage, rows)
    client = connect(storage.mlflow_uri)
    points = client.get_metric_history(runs(tracker)[stage.key].info.run_id, "kd/k1")
    assert [point.step for point in points] == [1, 2, 3, 4, 5]


def test_a_half_logged_stage_is_finished_after_a_restart(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
    storage: StorageSpec,
) -> None:
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.log_epochs(stage, read_history(trained.store, stage)[:1])
    assert runs(tracker)[stage.key].info.status == "RUNNING"
    restarted, _ = sweep()
    finish(restarted, trained.store, stage)
    run = runs(restarted)[stage.key]
    assert run.info.status == "FINISHED"
    points = connect(storage.mlflow_uri).get_metric_history(run.info.run_id, "auroc")
    assert [point.step for point in points] == [1, 2]


def test_more_points_than_one_call_takes_all_arrive(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    storage: StorageSpec,
) -> None:
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.log_epochs(
        stage, [{"epoch": n, "a": 0.0, "b": 0.0, "c": float(n)} for n in range(1, 351)]
    )
    run_id = runs(tracker)[stage.key].info.run_id
    points = connect(storage.mlflow_uri).get_metric_history(run_id, "c")
    assert [(point.step, point.value) for point in points] == [(n, n) for n in range(1, 351)]


def test_another_protocol_is_logged_over_the_first(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
) -> None:
    tracker, plan = sweep()
    stage = teacher_of(plan)
    finish(tracker, trained.store, stage)
    paper = plan.spec.evaluation.model_copy(update={"protocol": "paper"})
    restarted, _ = sweep(evaluation=paper)
    finish(restarted, trained.store, stage, protocol="paper")
    run = runs(restarted)[stage.key]
    assert run.data.tags["complete"] == "paper"
    found = evaluation_of(read_scores(trained.store, stage), "paper")
    assert run.data.metrics["gmean"] == found.gmean
    assert (
        run.data.metrics["gmean"]
        != evaluation_of(read_scores(trained.store, stage), "holdout").gmean
    )


def test_two_sweeps_with_the_same_stage_each_have_a_run(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
) -> None:
    first, plan = sweep()
    second, _ = sweep(name="another-sweep")
    for tracker in (first, second):
        finish(tracker, trained.store, teacher_of(plan))
        assert runs(tracker).keys() == {"", teacher_of(plan).key}


def test_a_stage_that_becomes_a_candidate_gets_its_package(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
    storage: StorageSpec,
) -> None:
    """The file grew: first p-kdgan-23 alone, then kdgan-2, its first step, as well."""
    _, plan = sweep()
    kdgan_2, _ = plan.candidates
    small = replace(plan, candidates=plan.candidates[1:])
    stage = plan.stages[kdgan_2.key]
    finish(Tracker(small, trained.store, storage), trained.store, stage)
    tracker, plan = sweep()
    finish(tracker, trained.store, stage, candidate_result(plan, kdgan_2, trained.store))
    run = runs(tracker)[stage.key]
    assert run.data.tags["role"] == "candidate"
    assert "difference_to_teacher" in run.data.metrics
    assert "package" in files(connect(storage.mlflow_uri), run.info.run_id)


@pytest.mark.parametrize("first_ends", [True, False])
def test_a_stage_of_one_sweep_that_is_a_candidate_of_another_gets_its_package(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
    storage: StorageSpec,
    first_ends: bool,
) -> None:
    """Both run at once, under one name."""
    larger, plan = sweep()
    kdgan_2, _ = plan.candidates
    smaller = Tracker(replace(plan, candidates=plan.candidates[1:]), trained.store, storage)
    stage = plan.stages[kdgan_2.key]
    result = candidate_result(plan, kdgan_2, trained.store)
    for tracker in (smaller, larger):
        tracker.log_epochs(stage, read_history(trained.store, stage)[:1])
    if first_ends:
        finish(smaller, trained.store, stage)
        larger.log_epochs(stage, read_history(trained.store, stage))
        finish(larger, trained.store, stage, result)
    else:
        finish(larger, trained.store, stage, result)
        finish(smaller, trained.store, stage)
    run = runs(larger)[stage.key]
    assert (run.data.tags["role"], run.info.status) == ("candidate", "FINISHED")
    assert run.data.tags["complete"] == "holdout"
    assert run.data.tags["student_widths"]
    assert "package" in files(connect(storage.mlflow_uri), run.info.run_id)


# What went wrong


def test_a_failed_stage_says_so_and_why(
    sweep: Callable[..., tuple[Tracker, Plan]], runs: Callable[[Tracker], dict[str, Any]]
) -> None:
    tracker, plan = sweep()
    teacher, student, _ = stages(plan)
    tracker.log_epochs(teacher, [{"epoch": 1, "loss/0": 1.0}])
    tracker.fail_stage(teacher, "failed", "Diverged: loss/0 not finite in epoch 2")
    tracker.fail_stage(student, "skipped", "digits 0 teacher failed")
    found = runs(tracker)
    assert found[teacher.key].info.status == "FAILED"
    assert (
        found[teacher.key].data.tags.items()
        >= {
            "status": "failed",
            "reason": "Diverged: loss/0 not finite in epoch 2",
        }.items()
    )
    assert found[student.key].info.status == "KILLED"
    assert found[student.key].data.tags["status"] == "skipped"
    assert found[student.key].data.tags["reason"] == "digits 0 teacher failed"


def test_a_reason_of_any_length_can_be_logged(
    sweep: Callable[..., tuple[Tracker, Plan]], runs: Callable[[Tracker], dict[str, Any]]
) -> None:
    tracker, plan = sweep()
    tracker.fail_stage(teacher_of(plan), "failed", "x" * 20_000)
    reason = runs(tracker)[teacher_of(plan).key].data.tags["reason"]
    assert reason.startswith("xxx")


def test_a_failed_stage_that_is_tried_again_runs_and_has_no_reason(
    sweep: Callable[..., tuple[Tracker, Plan]], runs: Callable[[Tracker], dict[str, Any]]
) -> None:
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.fail_stage(stage, "failed", "out of memory")
    restarted, _ = sweep()
    restarted.reopen(stage)
    run = runs(restarted)[stage.key]
    assert run.info.status == "RUNNING"
    assert run.data.tags["status"] == "running"
    assert not run.data.tags["reason"]


@pytest.mark.parametrize("reopened", [True, False])
def test_a_stage_that_failed_and_then_finished_is_no_failure_any_more(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    reopened: bool,
    trained: Any,
) -> None:
    """Trained in another try, or (not reopened) by another sweep with the same store."""
    tracker, plan = sweep()
    stage = teacher_of(plan)
    tracker.fail_stage(stage, "failed", "out of memory")
    restarted, _ = sweep()
    if reopened:
        restarted.reopen(stage)
    finish(restarted, trained.store, stage)
    run = runs(restarted)[stage.key]
    assert run.info.status == "FINISHED"
    assert run.data.tags.get("status") not in ("failed", "running")
    assert not run.data.tags.get("reason")


def test_a_finished_stage_that_was_trained_again_is_finished_again(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
) -> None:
    """Its files in the store were damaged, so a re-run of the sweep trains it again."""
    tracker, plan = sweep()
    stage = teacher_of(plan)
    finish(tracker, trained.store, stage)
    restarted, _ = sweep()
    restarted.reopen(stage)
    finish(restarted, trained.store, stage)
    assert runs(restarted)[stage.key].info.status == "FINISHED"


# The sweep's own run


@pytest.mark.parametrize(("lost", "status"), [(False, "FINISHED"), (True, "FAILED")])
def test_the_sweeps_own_run_ends_with_the_table_of_candidates(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
    storage: StorageSpec,
    lost: bool,
    status: str,
) -> None:
    tracker, plan = sweep()
    tracker.start_sweep()
    assert runs(tracker)[""].info.status == "RUNNING"
    results = [candidate_result(plan, candidate, trained.store) for candidate in plan.candidates]
    if lost:
        results[1] = CandidateResult(plan.candidates[1], "skipped", "a teacher failed")
    tracker.finish_sweep(results)
    run = runs(tracker)[""]
    assert run.info.status == status
    counts = {"finished": 2 - lost, "failed": 0, "skipped": int(lost), "unfinished": 0}
    assert run.data.metrics == {f"candidates_{name}": n for name, n in counts.items()}
    client = connect(storage.mlflow_uri)
    text = client.download_artifacts(run.info.run_id, "candidates.txt")
    assert Path(text).read_text() == render_plain(candidates_table(results, "holdout"))
    rows = json.loads(
        Path(client.download_artifacts(run.info.run_id, "candidates.json")).read_text()
    )
    assert rows["candidates"] == [result.as_row() for result in results]
    assert [row["configuration"] for row in rows["configurations"]] == ["kdgan-2", "p-kdgan-23"][
        : 2 - lost
    ]


def test_a_run_is_tagged_as_the_sweep_sees_it_now(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
) -> None:
    tracker, plan = sweep()
    candidate = plan.candidates[0]
    student = plan.stages[candidate.key]
    result = candidate_result(plan, candidate, trained.store)
    finish(tracker, trained.store, student, result)
    again, plan = sweep()
    labelled = replace(candidate, configuration=replace(candidate.configuration, kind="baseline"))
    again._plan = replace(plan, candidates=(labelled, *plan.candidates[1:]))
    assert not again.is_complete(student)
    finish(again, trained.store, student, replace(result, candidate=labelled))
    assert runs(again)[student.key].data.tags["kind"] == "baseline"
    assert again.is_complete(student)


def test_runs_have_the_mean_and_spread_of_their_configuration(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
) -> None:
    tracker, plan = sweep()
    for stage in stages(plan):
        finish(tracker, trained.store, stage)
    one, other = (candidate_result(plan, c, trained.store) for c in plan.candidates)
    # As if the second were another seed of the first.
    again = replace(one.candidate, seed=1, stages=other.candidate.stages)
    found = [one, replace(other, candidate=again)]
    for _ in range(2):  # and once more, which changes nothing
        tracker.finish_sweep(found)
    aurocs = [result.evaluation.auroc for result in found if result.evaluation]
    for result in found:
        metrics = runs(tracker)[result.candidate.key].data.metrics
        assert metrics["seeds"] == 2
        assert metrics["auroc_mean"] == pytest.approx(sum(aurocs) / 2)
        assert metrics["auroc_spread"] == pytest.approx(abs(aurocs[0] - aurocs[1]) / 2**0.5)
    tracker.finish_sweep(found[:1])  # with fewer seeds
    metrics = runs(tracker)[found[0].candidate.key].data.metrics
    assert metrics["seeds"] == 1
    assert math.isnan(metrics["auroc_spread"])


def test_a_sweep_run_again_has_the_same_run(
    sweep: Callable[..., tuple[Tracker, Plan]], runs: Callable[[Tracker], dict[str, Any]]
) -> None:
    first, _ = sweep()
    before = runs(first)[""].info.run_id
    first.finish_sweep([])
    again, _ = sweep()
    again.start_sweep()
    assert runs(again)[""].info.run_id == before
    assert runs(again)[""].info.status == "RUNNING"


# No MLflow


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_server_at_the_address_is_said_within_seconds() -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    before, began = dict(os.environ), time.monotonic()
    with pytest.raises(TrackingError) as caught:
        connect(uri)
    assert time.monotonic() - began < 20
    assert f"no MLflow at {uri} (" in str(caught.value)
    assert "set storage.tracking_uri or MLFLOW_TRACKING_URI" in str(caught.value)
    patience = [name for name in os.environ if name.startswith("MLFLOW_HTTP")]
    assert patience == [name for name in before if name.startswith("MLFLOW_HTTP")]


def test_a_server_that_is_no_mlflow_is_said_too() -> None:
    uri = "nonsense://somewhere"
    with pytest.raises(TrackingError, match=f"no MLflow at {uri}"):
        connect(uri)


def test_a_deleted_experiment_is_said(
    sweep: Callable[..., tuple[Tracker, Plan]], storage: StorageSpec
) -> None:
    tracker, plan = sweep()
    connect(storage.mlflow_uri).delete_experiment(tracker.experiment_id)
    with pytest.raises(TrackingError) as caught:
        sweep()
    assert f"the MLflow experiment {plan.spec.name} was deleted; restore it" in str(caught.value)


# Others at the same time


MAKE = """
import sys, time
from orchestrator.exporting import Exporter
from orchestrator.tracking.client import connect
time.sleep(max(0, float(sys.argv[2]) - time.time()))
client = connect(sys.argv[1])
client.set_experiment_tag("0", sys.argv[3], "was here")
"""


@pytest.mark.slow
def test_a_database_that_many_create_at_once_is_whole(tmp_path: Path) -> None:
    """MLflow's own creation, run by two processes at once, breaks the database for good."""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    start = str(time.time() + 12)  # once all have imported what they need
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, uri, start, f"process{n}"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for n in range(4)
    ]
    ended = [(p.communicate()[1], p.returncode) for p in processes]
    assert [code for _, code in ended] == [0] * 4, ended
    experiment = connect(uri).get_experiment("0")
    assert {f"process{n}" for n in range(4)} <= experiment.tags.keys()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "mlflow.db",
        "mlflow.db.lock",
    ]


def test_a_creation_that_died_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    (tmp_path / ".mlflow.db.unfinished").write_text("half a database")
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    (default,) = client.search_experiments()
    # Nothing of ours is logged there, but what a person logs goes to this home.
    assert default.artifact_location.startswith((tmp_path / "mlartifacts").as_uri())


def test_two_sweeps_of_one_name_share_their_runs(
    sweep: Callable[..., tuple[Tracker, Plan]], storage: StorageSpec
) -> None:
    (first, plan), (second, _) = sweep(), sweep()  # both before either has logged a stage
    assert first.experiment_id == second.experiment_id
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda tracker: [tracker.reopen(stage) for stage in plan.stages.values()],
                (first, second),
            )
        )
    client = connect(storage.mlflow_uri)
    assert len(client.search_runs([first.experiment_id])) == len(plan.stages) + 1


def test_a_stage_that_another_sweep_of_this_name_logs_is_logged_once(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    trained: Any,
    storage: StorageSpec,
    finish_all: Callable[..., None],
) -> None:
    """One trains, the other waits for it and finds what was trained; both log what they see."""
    (first, plan), (second, _) = sweep(), sweep()
    stage = teacher_of(plan)
    history = read_history(trained.store, stage)
    assert len(history) > 1
    for tracker in (first, second):
        tracker.log_epochs(stage, history[:1])
    finish(second, trained.store, stage)  # before the first has logged all
    first.log_epochs(stage, history)
    finish(first, trained.store, stage)
    run = runs(first)[stage.key]
    client = connect(storage.mlflow_uri)
    for name in run.data.metrics:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert len(set(steps)) == len(steps), name
    assert (run.data.tags["complete"], run.info.status) == ("holdout", "FINISHED")


@pytest.mark.parametrize("ends", ["started", "failed"])
def test_what_another_sweep_finished_stays_finished(
    sweep: Callable[..., tuple[Tracker, Plan]],
    runs: Callable[[Tracker], dict[str, Any]],
    ends: str,
    trained: Any,
) -> None:
    """The pack of one starts, and waits for the other's, which is done by then."""
    (first, plan), (second, _) = sweep(), sweep()
    stage = teacher_of(plan)
    finish(first, trained.store, stage)
    if ends == "started":
        second.reopen(stage)
    else:
        second.fail_stage(stage, "failed", "its trial's process died")
    run = runs(first)[stage.key]
    assert (run.data.tags["complete"], run.info.status) == ("holdout", "FINISHED")


# A home that moved


def home_at(root: Path) -> StorageSpec:
    # MLflow leaves the address of the last database in the environment.
    return StorageSpec(root=str(root), tracking_uri=f"sqlite:///{root}/mlflow.db")


@pytest.fixture
def home(
    tmp_path: Path, empty_database: Path, trained: Any, finish_all: Callable[..., None]
) -> StorageSpec:
    """A home of its own with one sweep logged whole."""
    storage = home_at(tmp_path / "home")
    storage.local_path.mkdir()
    shutil.copy(empty_database, storage.local_path)
    spec = trained.plan.spec.model_copy(update={"storage": storage})
    plan = replace(trained.plan, spec=spec)
    finish_all(Tracker(plan, trained.store, storage), plan, trained.store)
    return storage


def again(storage: StorageSpec, trained: Any) -> Tracker:
    spec = trained.plan.spec.model_copy(update={"storage": storage})
    return Tracker(replace(trained.plan, spec=spec), trained.store, storage)


@pytest.mark.parametrize("leaves", ["moved", "copied"])
def test_a_home_that_moved_is_said_with_what_to_do(
    home: StorageSpec, trained: Any, tmp_path: Path, leaves: str
) -> None:
    new = tmp_path / "new home"
    (Path.rename if leaves == "moved" else shutil.copytree)(home.local_path, new)
    storage = home_at(new)
    client = connect(storage.mlflow_uri)
    remedy = f"ln -s '{new}' {home.local_path}"
    with pytest.raises(TrackingError) as caught:
        again(storage, trained)
    assert remedy in str(caught.value)
    with pytest.raises(TrackingError) as caught:
        finished_candidates(client, "tiny")
    assert remedy in str(caught.value)
    assert ("is not there" in str(caught.value)) == (leaves == "moved")


def test_artifacts_that_were_deleted_are_not_called_moved(home: StorageSpec, trained: Any) -> None:
    shutil.rmtree(home.local_path / "mlartifacts")
    again(home, trained)


def test_the_remedy_is_one(home: StorageSpec, trained: Any, tmp_path: Path) -> None:
    new = tmp_path / "new"
    home.local_path.rename(new)
    home.local_path.symlink_to(new)
    storage = home_at(new)
    again(storage, trained)
    client = connect(storage.mlflow_uri)
    run = finished_candidates(client, "tiny")[0]
    register(client, "tiny.digits.0", run, Exporter(client, trained.plan.spec, lambda line: None))
    fetch(client, "tiny.digits.0", tmp_path / "mine")
    again(home, trained)
    home.local_path.unlink()
    with pytest.raises(TrackingError, match="ln -s"):
        fetch(client, "tiny.digits.0", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "spelling",
    [
        "sqlite:///new/mlflow.db",
        "sqlite:///new/mlflow.db?timeout=30",
        "sqlite+pysqlite:///new/mlflow.db",
    ],
)
def test_a_database_that_was_never_there_may_be_given_in_any_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """Relative, with a query, with a driver: it is made whole, under the lock beside it."""
    monkeypatch.chdir(tmp_path)
    client = connect(spelling)
    assert [e.name for e in client.search_experiments()] == ["Default"]
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.parametrize("name", ["a b", "100% #1", "[x]", "螺丝", "a'b", "a;b&c"])
def test_a_home_may_have_any_name(tmp_path: Path, trained: Any, name: str) -> None:
    storage = home_at(tmp_path / name)
    tracker = again(storage, trained)
    tracker.start_sweep()
    (plan, store) = (trained.plan, trained.store)
    results = [candidate_result(plan, candidate, store) for candidate in plan.candidates]
    tracker.finish_sweep(results)
    client = connect(storage.mlflow_uri)
    (run,) = client.search_runs([tracker.experiment_id])
    assert Path(client.download_artifacts(run.info.run_id, "candidates.txt")).read_text()
    assert list((tmp_path / name / "mlartifacts").rglob("candidates.txt"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
