"""The table at the end of a sweep."""

from collections.abc import Callable
from typing import Any

import pytest
from costs import alone

from kd_models.evaluation.metrics import Evaluation
from orchestrator.planning.plan import Plan
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.tables import candidates_table, render_plain

FOUND = Evaluation(
    auroc=0.91234, val_auroc=0.1, test_auroc=0.2, threshold=0.3, gmean=0.81, fpr=0.125, fnr=0.25
)
COST = alone(1_234_567, 76_416, 1234)
RESULTS = ["AUROC", "gmean", "FPR", "FNR", "vs teacher", "params", "FLOPs", "us"]


@pytest.fixture
def results_of(plan_of: Callable[..., Plan]) -> Callable[..., list[CandidateResult]]:
    """One finished result for every candidate of a sweep."""

    def build(**changes: Any) -> list[CandidateResult]:
        return [
            CandidateResult(
                c,
                "finished",
                "",
                FOUND,
                0.9,
                COST,
            )
            for c in plan_of(**changes).candidates
        ]

    return build


def cells(results: list[CandidateResult]) -> list[list[str]]:
    """Heading and rows, as text."""
    table = candidates_table(results, "holdout")
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("changes", "axis", "values"),
    [
        ({}, None, []),
        ({"student_widths": [(1, 2, 4), (2, 4, 8)]}, "student_widths", ["1-2-4", "2-4-8"]),
        ({"seeds": [3, 4]}, "seed", ["3", "4"]),
        (
            {"loss_weights": [{}, {"kx": 2.5}]},
            "loss_weights",
            ["k1=1,kx=1,k2=1,con=10,enc=1,adv=1", "k1=1,kx=2.5,k2=1,con=10,enc=1,adv=1"],
        ),
    ],
)
def test_an_axis_has_a_column_only_where_it_varies(
    results_of: Callable[..., list[CandidateResult]],
    changes: dict[str, Any],
    axis: str | None,
    values: list[str],
) -> None:
    heading, *rows = cells(results_of(**changes))
    extra = [axis] if axis else []
    assert heading == ["dataset", "class", "structure", *extra, *RESULTS]
    if axis:
        assert [row[heading.index(axis)] for row in rows] == values


def test_dataset_class_and_structure_are_always_there(
    results_of: Callable[..., list[CandidateResult]],
) -> None:
    _, row = cells(results_of())
    metrics = ["0.9123", "0.8100", "0.1250", "0.2500", "+0.0123", "1,234,567", "76,416", "1,234"]
    assert row == ["digits", "0", "kdgan-2", *metrics]


def test_a_student_worse_than_its_teacher_has_a_minus(
    results_of: Callable[..., list[CandidateResult]],
) -> None:
    (result,) = results_of()
    worse = CandidateResult(result.candidate, "finished", "", FOUND, 0.95, result.cost)
    heading, row = cells([worse])
    assert row[heading.index("vs teacher")] == "-0.0377"


def test_a_student_without_a_teacher_has_a_dash(
    results_of: Callable[..., list[CandidateResult]],
) -> None:
    (result,) = results_of()
    alone = CandidateResult(result.candidate, "finished", "", FOUND, None, result.cost)
    heading, row = cells([alone])
    assert row[heading.index("vs teacher")] == "-"


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_what_was_not_trained_shows_its_status_instead_of_metrics(
    results_of: Callable[..., list[CandidateResult]], status: str
) -> None:
    good, bad = results_of(seeds=[0, 1])
    heading, _, row = cells([good, CandidateResult(bad.candidate, status, "why")])
    assert row == ["digits", "0", "kdgan-2", "1", status, *[""] * (len(RESULTS) - 1)]
    assert len(row) == len(heading)


def test_as_text_it_is_plain_and_whole(
    results_of: Callable[..., list[CandidateResult]],
) -> None:
    results = results_of(
        seeds=[0, 1], student_widths=[(1, 2, 4), (2, 4, 8)], loss_weights=[{}, {"k1": 2}]
    )
    text = render_plain(candidates_table(results, "paper"))
    assert "candidates (protocol paper)" in text
    assert "\x1b" not in text
    assert "…" not in text
    assert text.count("0.9123") == 8


def test_a_folder_with_square_brackets_in_its_name_is_shown_as_it_is(
    results_of: Callable[..., list[CandidateResult]],
) -> None:
    results = results_of(datasets=["folder:/data/[raw]/parts"], normal_classes="all")
    assert "folder:/data/[raw]/parts" in render_plain(candidates_table(results, "paper"))
