"""Which detectors the pictures show, and side by side."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from costs import alone

from kd_models.evaluation.metrics import Evaluation
from orchestrator.planning.configuration import Configuration
from orchestrator.planning.plan import Plan
from orchestrator.reporting.comparison import compare
from orchestrator.reporting.page import plotted as module
from orchestrator.reporting.page.plotted import MOST_BESIDE, Plotted, best_of, plotted, side_by_side
from orchestrator.reporting.results import CandidateResult

SCORES = {"scores": ["paper", "calibrated"]}


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cost_of", lambda stage: alone(7))


def results(plan: Plan, merit: Callable[[Any], float]) -> list[CandidateResult]:
    """Finished results; a teacher is at 0.9, and on the validation half at 0.8."""
    found = []
    for candidate in plan.candidates:
        value = merit(candidate)
        evaluation = Evaluation(value, value - 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
        taught = (0.9, 0.8) if plan.teacher_of(candidate) else (None, None)
        found.append(
            CandidateResult(candidate, "finished", "", evaluation, taught[0], alone(), taught[1])
        )
    return found


def shown(plan: Plan, merit: Callable[[Any], float]) -> list[Plotted]:
    every = results(plan, merit)
    return plotted(plan, compare(every), every)["digits"]


def by_structure(**merits: float) -> Callable[[Any], float]:
    return lambda candidate: (
        merits.get(
            candidate.axes.get("structure", candidate.configuration.method).replace("-", "_"), 0.5
        )
        + 0.01 * (candidate.axes.get("score") == "calibrated")
    )


def test_a_teacher_that_nobody_asked_for_is_shown_too(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["kdgan-2"], seeds=2, normal_classes=[0, 1])
    teacher, student = shown(plan, by_structure())
    assert (teacher.words, teacher.kind, teacher.configuration) == ("teacher", "teacher", None)
    assert teacher.aurocs == {"0": [0.9, 0.9], "1": [0.9, 0.9]}
    assert (teacher.merit, teacher.spread) == (pytest.approx(0.8), pytest.approx(0.0))
    assert teacher.cost == alone(7)
    assert {chain for own in teacher.chains.values() for chain in own} == {
        candidate.stages[:1] for candidate in plan.candidates
    }
    assert (student.words, student.merit) == ("kdgan-2", pytest.approx(0.4))


def test_a_teacher_that_was_asked_for_is_shown_once(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["teacher", "kdgan-2"])
    assert [one.words for one in shown(plan, by_structure())] == ["teacher", "kdgan-2"]


def test_under_protocol_paper_the_whole_test_split_counts(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["kdgan-2"], evaluation={"protocol": "paper"})
    assert [one.merit for one in shown(plan, by_structure())] == [0.9, 0.5]


def test_the_best_is_a_student_where_there_is_one(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["alone", "kdgan-2"], baselines=["pca"])
    every = shown(plan, by_structure(alone=0.6, kdgan_2=0.7, pca=0.9))
    best = best_of(every)
    assert best is not None
    assert best.words == "kdgan-2"
    kinds = {one.kind: one for one in every}
    assert best_of([kinds["teacher"], kinds["baseline"]]) is kinds["baseline"]
    assert best_of([kinds["teacher"]]) is kinds["teacher"]
    assert best_of([]) is None


def test_beside_the_best_is_what_differs_in_the_first_axis_alone(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(structures=["alone", "kdgan-1", "kdgan-2"], baselines=["pca", "knn"], **SCORES)
    every = shown(plan, by_structure(kdgan_2=0.7, knn=0.6))
    assert [one.words for one in side_by_side(every)] == [
        "teacher",
        "alone calibrated",
        "kdgan-1 calibrated",
        "kdgan-2 calibrated",
        "knn",
    ]


def test_the_teacher_beside_them_has_the_score_of_the_best(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["teacher", "kdgan-2"], **SCORES)
    found = side_by_side(shown(plan, by_structure()))
    assert [one.words for one in found] == ["teacher calibrated", "kdgan-2 calibrated"]


def detector(number: int) -> Plotted:
    """A student of a method of its own."""
    return Plotted(
        "digits",
        f"student {number}",
        "student",
        f"method {number}",
        {"0": [0.5]},
        number / 100,
        None,
        alone(),
        {"0": [(f"key {number}",)]},
        Configuration("pkdgan", "student", {"structure": "alone"}),
    )


def test_of_too_many_the_best_of_each_method_are_shown_in_their_order() -> None:
    every = [detector(number) for number in range(20)]
    assert side_by_side(every) == every[:MOST_BESIDE]  # each is the best of its method
    same = [replace(one, group="one") for one in every]
    same = [replace(one, configuration=structure(place)) for place, one in enumerate(same)]
    assert side_by_side(same) == same[-MOST_BESIDE:]


def structure(number: int) -> Configuration:
    return Configuration("pkdgan", "student", {"structure": f"structure {number}"})


def test_without_students_the_best_of_the_others_are_shown() -> None:
    every = [replace(detector(number), kind="baseline") for number in range(20)]
    assert side_by_side(every) == every[::-1][:MOST_BESIDE]
    assert side_by_side([]) == []
