"""What kinds of student are compared at the end of a sweep, in a table and in a figure."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kd_models.data import dataset_row
from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.reporting.comparison import MOST_TASKS, Compared, compare
from orchestrator.reporting.figures import comparison_figure
from orchestrator.reporting.report import write_report
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.tables import comparison_table, render_plain

Results = list[CandidateResult]


def planned(**changes: Any) -> Plan:
    raw: dict[str, Any] = {
        "name": "tiny",
        "method": "eca_mkdad",
        "datasets": ["digits"],
        "normal_classes": [0],
        "placements": ["eca", "mkdad"],
    }
    spec = SweepSpec.model_validate({**raw, **changes})
    facts = {name: DatasetFacts(dataset_row(name), name) for name in spec.datasets}
    return make_plan(spec, facts, "7" * 64)


def cost(milliseconds: float) -> Cost:
    return Cost(300, 3000, 10 * milliseconds, 100, 1000, milliseconds)


def finished(plan: Plan, aurocs: list[float]) -> Results:
    """Results of a plan's candidates: the n-th costs n ms, ten times as much with its teacher."""
    return [
        CandidateResult(
            candidate,
            "finished",
            evaluation=Evaluation(auroc, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
            cost=cost(n),
        )
        for n, (candidate, auroc) in enumerate(zip(plan.candidates, aurocs, strict=True), start=1)
    ]


TWO_TASKS: dict[str, Any] = {
    "datasets": ["digits", "mvtec"],
    "normal_classes": {"digits": [0], "mvtec": ["grid"]},
}


def cells(compared: list[Compared]) -> list[list[str]]:
    """Heading and rows, as text."""
    table = comparison_table(compared)
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


# Groups


def test_students_are_told_apart_by_the_axes_that_vary() -> None:
    found = compare(finished(planned(), [0.6, 0.7]))
    assert [(one.student, one.aurocs) for one in found] == [
        ("eca", {"digits 0": (0.6,)}),
        ("mkdad", {"digits 0": (0.7,)}),
    ]
    assert [one.costs for one in found] == [{"digits 0": cost(1)}, {"digits 0": cost(2)}]


@pytest.mark.parametrize(
    ("changes", "students"),
    [
        ({"placements": ["se"]}, ["se"]),
        (
            {"student_widths": ["lightweight", "full"], "placements": ["se"]},
            ["lightweight", "full"],
        ),
        ({"lambdas": [0.1, 1], "placements": ["se"]}, ["0.1", "1"]),
        ({"lambdas": [0.1, 1]}, ["eca 0.1", "eca 1", "mkdad 0.1", "mkdad 1"]),
    ],
)
def test_axes_that_do_not_vary_are_left_out_unless_nothing_does(
    changes: dict[str, Any], students: list[str]
) -> None:
    plan = planned(**changes)
    found = compare(finished(plan, [0.5] * len(plan.candidates)))
    assert [one.student for one in found] == students


def test_seeds_are_one_kind_of_student() -> None:
    eca, mkdad = compare(finished(planned(seeds=[0, 1]), [0.5, 0.7, 0.8, 0.9]))
    assert (eca.student, eca.aurocs) == ("eca", {"digits 0": (0.5, 0.7)})
    assert (mkdad.student, mkdad.aurocs) == ("mkdad", {"digits 0": (0.8, 0.9)})
    assert cells([eca, mkdad])[1][1] == "0.6000 (2)"


def test_a_lambda_that_differs_by_dataset_alone_makes_no_other_students() -> None:
    plan = planned(**TWO_TASKS)
    assert {c.axes["lambda"] for c in plan.candidates} == {0.01, 0.1}
    found = compare(finished(plan, [0.1, 0.2, 0.3, 0.4]))
    assert [(one.student, one.aurocs) for one in found] == [
        ("eca", {"digits 0": (0.1,), "mvtec grid": (0.3,)}),
        ("mkdad", {"digits 0": (0.2,), "mvtec grid": (0.4,)}),
    ]


def test_what_is_not_finished_is_not_compared() -> None:
    results = finished(planned(**TWO_TASKS), [0.1, 0.2, 0.3, 0.4])
    results[1] = CandidateResult(results[1].candidate, "failed", "Diverged")
    eca, mkdad = compare(results)
    assert eca.aurocs.keys() == {"digits 0", "mvtec grid"}
    assert mkdad.aurocs.keys() == mkdad.costs.keys() == {"mvtec grid"}


def test_of_nothing_finished_there_is_no_comparison(tmp_path: Path) -> None:
    results = [CandidateResult(c, "unfinished", "why") for c in planned().candidates]
    assert compare([]) == compare(results) == []
    write_report(results, "holdout", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.txt", "candidates.json"}
    assert "unfinished" in (tmp_path / "candidates.txt").read_text()


def test_p_kdgans_structures_are_compared_as_well(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["kdgan-2", "alone"])
    assert [one.student for one in compare(finished(plan, [0.5, 0.6]))] == ["kdgan-2", "alone"]


@pytest.mark.parametrize("classes", [MOST_TASKS, MOST_TASKS + 1])
def test_many_classes_are_compared_as_one_task(classes: int) -> None:
    plan = planned(placements=["eca"], normal_classes=list(range(classes)))
    aurocs = [0.5 + n / 100 for n in range(classes)]
    (found,) = compare(finished(plan, aurocs))
    if classes > MOST_TASKS:
        assert found.aurocs == {"digits": tuple(aurocs)}
    else:
        assert found.aurocs == {f"digits {n}": (aurocs[n],) for n in range(classes)}


# Table


def test_the_table_has_auroc_and_times_of_every_task() -> None:
    results = finished(planned(**TWO_TASKS), [0.12344, 0.2, 0.3, 0.4])
    results[1] = CandidateResult(results[1].candidate, "failed", "Diverged")
    assert cells(compare(results)) == [
        [
            *("student", "digits 0 AUROC", "student ms", "deployed ms"),
            *("mvtec grid AUROC", "student ms", "deployed ms"),
        ],
        ["eca", "0.1234", "1.00", "10.00", "0.3000", "3.00", "30.00"],
        ["mkdad", "-", "-", "-", "0.4000", "4.00", "40.00"],
    ]


# Figure


def drawn(figure: Figure) -> tuple[Any, Any]:
    figure.canvas.draw()
    quality, time = figure.axes
    return quality, time


def test_every_kind_of_student_has_a_bar_for_each_task() -> None:
    quality, time = drawn(
        comparison_figure(compare(finished(planned(**TWO_TASKS), [0.6, 0.7, 0.8, 0.9])))
    )
    # Task by task, and within it student by student.
    heights = [bar.get_height() for bar in quality.patches]
    assert heights == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert [bar.get_height() for bar in time.patches] == [10, 1, 20, 2, 30, 3, 40, 4]
    assert [label.get_text() for label in time.get_xticklabels()] == ["eca", "mkdad"]
    assert [text.get_text() for text in quality.texts] == ["0.600", "0.700", "0.800", "0.900"]
    (legend,) = quality.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["digits 0", "mvtec grid"]
    low, high = quality.get_ylim()
    assert low < 0.6
    assert high > 1
    # No two bars lie over one another.
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in quality.patches)
    assert all(left[1] <= right[0] for left, right in pairwise(edges))


def test_seeds_are_dots_over_the_bar_of_their_mean() -> None:
    quality, _ = drawn(comparison_figure(compare(finished(planned(seeds=[0, 1]), [0.5, 0.7] * 2))))
    assert [bar.get_height() for bar in quality.patches] == pytest.approx([0.6, 0.6])
    assert [list(line.get_ydata()) for line in quality.lines] == [[0.5, 0.7]] * 2


def test_a_task_that_the_first_student_lacks_is_in_the_legend_too() -> None:
    results = finished(planned(**TWO_TASKS), [0.6, 0.7, 0.8, 0.9])
    results[2] = CandidateResult(results[2].candidate, "failed", "Diverged")
    quality, _ = drawn(comparison_figure(compare(results)))
    assert len(quality.patches) == 3
    (legend,) = quality.figure.legends
    said = {text.get_text() for text in legend.get_texts()}
    assert said == {"digits 0", "mvtec grid"}


# Files


def test_a_report_is_tables_a_picture_and_everything_as_json(tmp_path: Path) -> None:
    results = finished(planned(), [0.6, 0.7])
    folder = tmp_path / "new" / "report"
    write_report(results, "paper", folder)
    assert {path.name for path in folder.iterdir()} == {
        "candidates.txt",
        "candidates.json",
        "comparison.txt",
        "comparison.png",
    }
    compared = render_plain(comparison_table(compare(results)))
    assert (folder / "comparison.txt").read_text() == compared
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert "candidates (protocol paper)" in (folder / "candidates.txt").read_text()
    rows = json.loads((folder / "candidates.json").read_text())["candidates"]
    assert rows == [result.as_row() for result in results]
    assert [(row["placement"], row["auroc"], row["student_latency_ms"]) for row in rows] == [
        ("eca", 0.6, 1),
        ("mkdad", 0.7, 2),
    ]
