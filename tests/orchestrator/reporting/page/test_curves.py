"""Training curves: which stages are read, and what is made of their histories."""

from collections.abc import Callable
from typing import Any

import pytest
from costs import alone

from orchestrator.planning.plan import Plan
from orchestrator.reporting.page import curves
from orchestrator.reporting.page.curves import (
    Line,
    chosen_tasks,
    lines_of,
    mean_curve,
    trained_stage,
)
from orchestrator.reporting.page.plotted import Plotted


def history(*aurocs: float | None) -> list[dict[str, float]]:
    rows = [{"epoch": float(n), "seconds": 1.0} for n in range(1, len(aurocs) + 1)]
    return [
        row if auroc is None else {**row, "auroc": auroc}
        for row, auroc in zip(rows, aurocs, strict=True)
    ]


def shown(plan: Plan, *structures: str) -> list[Plotted]:
    """The candidates of some structures, as figures show them."""
    found = []
    for structure in structures:
        own = [c for c in plan.candidates if c.axes["structure"] == structure]
        chains: dict[str, list[tuple[str, ...]]] = {}
        for candidate in own:
            chains.setdefault(candidate.normal_class, []).append(candidate.stages)
        words = f"{structure} in words"
        found.append(Plotted("digits", words, "student", "", {}, 0.5, None, alone(), chains))
    return found


def test_the_curve_is_the_mean_over_seeds_where_all_were_evaluated() -> None:
    curve = mean_curve([history(0.5, None, 0.7, 0.8), history(0.7, 0.1, 0.7, None)])
    assert curve is not None
    assert curve.epochs == (1, 3)
    assert curve.means == pytest.approx((0.6, 0.7))
    assert curve.spreads == pytest.approx((0.02**0.5, 0.0))
    assert curve.seeds == 2


def test_of_one_seed_there_is_no_spread() -> None:
    curve = mean_curve([history(0.5, 0.6)])
    assert curve is not None
    assert curve.spreads == (0.0, 0.0)


@pytest.mark.parametrize("histories", [[], [history(None)], [history(0.5), history(None, 0.5)]])
def test_without_an_epoch_in_common_there_is_no_curve(histories: Any) -> None:
    assert mean_curve(histories) is None


def test_long_histories_are_thinned_and_keep_their_end() -> None:
    curve = mean_curve([history(*(n / 501 for n in range(501)))])
    assert curve is not None
    assert 70 <= len(curve.epochs) <= 80
    assert curve.epochs[-1] == 501


def test_the_last_step_with_epochs_is_shown(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["p-kdgan-23"], scores=["calibrated"])
    (candidate,) = plan.candidates
    teacher, first, second, fitted = (plan.stages[key] for key in candidate.stages)
    assert fitted.recipe is None
    assert trained_stage(plan, candidate.stages) is second
    assert trained_stage(plan, [first.key]) is first
    assert trained_stage(plan, [fitted.key]) is None
    assert trained_stage(plan, []) is None
    assert teacher.kind == "teacher"


def test_what_is_only_fitted_has_no_curve(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["alone"], baselines=["pca"])
    baseline = plan.candidates[-1]
    assert baseline.configuration.kind == "baseline"
    assert trained_stage(plan, baseline.stages) is None


def test_a_training_with_two_scores_has_one_curve_under_its_own_name(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(structures=["kdgan-2"], scores=["paper", "calibrated"], seeds=2)
    (line,) = lines_of(plan, [*shown(plan, "kdgan-2")], "0")
    assert (line.words, line.place, len(line.stages)) == ("paper", 0, 2)


def test_a_training_that_no_candidate_ends_with_has_the_detectors_name(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(structures=["alone", "kdgan-2"], scores=["calibrated"])
    lines = lines_of(plan, shown(plan, "alone", "kdgan-2"), "0")
    assert [(line.words, line.place) for line in lines] == [
        ("alone in words", 0),
        ("kdgan-2 in words", 1),
    ]


def test_no_more_seeds_are_read_than_a_picture_needs(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["alone"], seeds=30)
    (line,) = lines_of(plan, shown(plan, "alone"), "0")
    assert len(line.stages) == curves.MOST_SEEDS


def tasks(stages: int, *names: tuple[str, str]) -> dict[tuple[str, str], list[Line]]:
    stage: Any = None
    return {name: [Line("", 0, (stage,) * stages)] for name in names}


def test_tasks_are_taken_from_every_dataset_in_turn_until_enough_is_read() -> None:
    every = [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1")]
    assert list(chosen_tasks(tasks(60, *every))) == [("a", "0"), ("a", "1"), ("b", "0")]
    assert list(chosen_tasks(tasks(500, *every))) == [("a", "0")]
    many = [("a", str(n)) for n in range(100)]
    assert len(chosen_tasks(tasks(1, *many))) == curves.MOST_PANELS
    assert chosen_tasks({("a", "0"): []}) == {}
