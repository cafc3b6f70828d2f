"""What a sweep came to, from hand-made scores."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import GanDetector
from kd_models.methods.pkdgan.settings import LossWeights
from orchestrator.planning.axes import TAKEN_AXES
from orchestrator.planning.plan import Plan
from orchestrator.reporting.costs import cost_of, cost_of_detector
from orchestrator.reporting.results import (
    candidate_result,
    collect,
    evaluation_of,
)
from orchestrator.store import open_store
from orchestrator.store.record import HISTORY, IDENTITY, NETWORKS, SCORES, read_scores
from orchestrator.store.stages import Store

PERFECT = ([1.0, 2.0, 1.0, 2.0], [8.0, 9.0, 8.0, 9.0])
CHANCE = ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])
MIXED = ([1.0, 3.0, 3.0, 1.0], [2.0, 4.0, 4.0, 2.0])
"""4 x 4 pairs, of which the two normal 3s lose to the two novel 2s: AUROC 12/16"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(structures=["kdgan-2", "alone"])


def test_a_finished_candidate_is_judged_and_compared_with_its_teacher(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    distilled, alone = plan.candidates
    teacher, student = (plan.stages[key] for key in distilled.stages)
    put(store, teacher, *PERFECT)
    put(store, student, *MIXED)
    put(store, plan.stages[alone.key], *CHANCE)
    first, second = collect(plan, store, {}, {})
    assert (first.status, first.reason, first.candidate) == ("finished", "", distilled)
    assert first.evaluation is not None
    assert first.evaluation.auroc == 0.75
    assert first.teacher_auroc == 1.0
    assert first.difference == -0.25
    assert second.evaluation is not None
    assert second.evaluation.auroc == 0.5
    assert second.teacher_auroc is None
    assert second.difference is None


def test_the_difference_is_between_whole_test_splits_under_every_protocol(
    plan_of: Callable[..., Plan], store: Store, put: Callable[..., None]
) -> None:
    plan = plan_of(evaluation={"protocol": "holdout"})
    (candidate,) = plan.candidates
    teacher, student = (plan.stages[key] for key in candidate.stages)
    # AUROC 0.75 in all, 0.5 and 1 in the halves.
    put(store, teacher, [0.0, 0.0, 0.0, 5.0], [4.0, 4.0, 4.0, 4.0])
    put(store, student, *PERFECT)
    result = candidate_result(plan, candidate, store)
    assert result.teacher_auroc == 0.75
    assert result.difference == 0.25


def test_the_student_is_judged_and_costed_rather_than_its_teacher(
    plan_of: Callable[..., Plan], store: Store, put: Callable[..., None]
) -> None:
    plan = plan_of(structures=["p-kdgan-23"], teacher={"widths": (2, 4, 8)})
    (candidate,) = plan.candidates
    for key, scores in zip(candidate.stages, (PERFECT, CHANCE, MIXED), strict=True):
        put(store, plan.stages[key], *scores)
    result = candidate_result(plan, candidate, store)
    assert result.evaluation is not None
    assert result.evaluation.auroc == 0.75
    assert result.teacher_auroc == 1.0
    assert result.cost is not None
    assert (result.cost.deployed.params, result.cost.deployed.flops) == (49722, 76416)
    teacher = cost_of(plan.stages[candidate.stages[0]])
    assert (teacher.deployed.params, teacher.deployed.flops) == (100404, 177408)


@pytest.mark.parametrize(
    ("channels", "widths", "params", "flops"),
    [
        (3, (64, 128, 256), 5_123_712, 56_008_704),
        (1, (64, 128, 256), 5_117_568, 54_435_840),
        (3, (8, 16, 64), 843_408, 2_285_568),
        (1, (2, 4, 8), 100_404, 177_408),
        (1, (1, 2, 4), 49_722, 76_416),
    ],
)
def test_golden_numbers(
    channels: int, widths: tuple[int, int, int], params: int, flops: int
) -> None:
    network = NetworkConfig(channels=channels, widths=widths)
    found = cost_of_detector(GanDetector(network=network, distance="mse"), 32)
    assert (found.deployed.params, found.deployed.flops) == (params, flops)
    assert found.student == found.deployed


def test_a_failed_candidate_says_why(plan: Plan, store: Store) -> None:
    candidate = plan.candidates[0]
    result = candidate_result(plan, candidate, store, failed={candidate.key: "Diverged: NaN"})
    assert (result.status, result.reason) == ("failed", "Diverged: NaN")
    assert result.evaluation is None
    assert result.difference is None
    assert result.cost is None


def test_a_skipped_candidate_names_the_stage_that_failed(plan: Plan, store: Store) -> None:
    candidate = plan.candidates[0]
    teacher = candidate.stages[0]
    result = candidate_result(
        plan, candidate, store, failed={teacher: "Diverged: NaN"}, skipped={candidate.key: teacher}
    )
    assert (result.status, result.reason) == (
        "skipped",
        "digits 0 teacher failed: Diverged: NaN",
    )


def test_a_failure_elsewhere_is_not_this_candidates(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    distilled, alone = plan.candidates
    put(store, plan.stages[alone.key], *MIXED)
    results = collect(
        plan, store, {distilled.stages[0]: "no"}, {distilled.key: distilled.stages[0]}
    )
    assert [result.status for result in results] == ["skipped", "finished"]


def test_a_student_that_the_store_lacks_is_not_finished(plan: Plan, store: Store) -> None:
    result = candidate_result(plan, plan.candidates[0], store)
    assert (result.status, result.reason) == ("unfinished", "the sweep was interrupted")
    assert result.evaluation is None


def test_a_damaged_student_is_failed(
    plan: Plan, store: Store, put: Callable[..., None], blob_of: Callable[..., Path]
) -> None:
    candidate = plan.candidates[1]
    put(store, plan.stages[candidate.key], *MIXED)
    path = blob_of(store, candidate.key, SCORES)
    path.write_bytes(b"?")
    result = candidate_result(plan, candidate, store)
    assert result.status == "failed"
    assert path.name in result.reason
    assert "--verify" in result.reason


def test_a_student_stored_as_another_is_failed(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    distilled, alone = plan.candidates
    put(store, plan.stages[alone.key], *MIXED)
    files = (NETWORKS, SCORES, HISTORY, IDENTITY)
    store.write(distilled.key, {name: store.read(alone.key, name) for name in files})
    result = candidate_result(plan, distilled, store)
    assert result.status == "failed"
    assert f"stage {distilled.key} holds something else: " in result.reason
    assert "--verify" in result.reason


def test_a_teacher_that_the_store_lost_leaves_the_student_without_a_difference(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    candidate = plan.candidates[0]
    put(store, plan.stages[candidate.key], *MIXED)
    result = candidate_result(plan, candidate, store)
    assert result.status == "finished"
    assert result.teacher_auroc is None
    assert result.difference is None


def test_protocol_decides_which_half_the_rates_are_of(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    stage = plan.stages[plan.candidates[0].key]
    put(store, stage, [0.0, 0.0, 0.0, 5.0], [4.0, 4.0, 4.0, 4.0])
    paper, holdout = (
        evaluation_of(read_scores(store, stage), "paper"),
        evaluation_of(read_scores(store, stage), "holdout"),
    )
    assert paper.auroc == holdout.auroc == 0.75
    assert paper.fpr == 0.25
    # The outlying normal image is in one half or in the other, whose two normals it halves.
    assert holdout.fpr in (0.0, 0.5)
    assert {paper.val_auroc, paper.test_auroc} == {0.5, 1.0}


def test_a_row_for_programs_holds_everything(
    plan: Plan, store: Store, put: Callable[..., None]
) -> None:
    candidate = plan.candidates[0]
    teacher, student = (plan.stages[key] for key in candidate.stages)
    put(store, teacher, *PERFECT)
    put(store, student, *MIXED)
    result = candidate_result(plan, candidate, store)
    row = result.as_row()
    assert result.evaluation is not None
    assert {**row, **asdict(result.evaluation)} == row
    assert (
        row
        | {
            "dataset": "digits",
            "normal_class": "0",
            "structure": "kdgan-2",
            "student_widths": [1, 2, 4],
            "seed": 0,
            "stage_key": student.key,
            "status": "finished",
            "reason": "",
            "teacher_auroc": 1.0,
            "difference_to_teacher": -0.25,
            "params": 49722,
            "flops": 76416,
        }
        == row
    )
    assert row["loss_weights"] == LossWeights().model_dump()
    assert row.keys() - candidate.axes.keys() <= TAKEN_AXES


def test_a_row_of_a_failure_has_no_metric(plan: Plan, store: Store) -> None:
    candidate = plan.candidates[0]
    row = candidate_result(plan, candidate, store, failed={candidate.key: "no"}).as_row()
    assert row["status"] == "failed"
    assert row["reason"] == "no"
    assert row["difference_to_teacher"] is None
    assert not row.keys() & {"auroc", "params"}
