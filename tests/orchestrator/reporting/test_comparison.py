"""What kinds of student are compared at the end of a sweep, in a table and in a figure."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from costs import alone, network_cost
from matplotlib.figure import Figure
from rich.table import Table

from kd_models.data import dataset_row
from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from orchestrator.planning.axes import TAKEN_AXES
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Candidate
from orchestrator.reporting.comparison import (
    OVER_SEEDS,
    Compared,
    Standing,
    compare,
    over_seeds,
    standings,
)
from orchestrator.reporting.figures import comparison_figure
from orchestrator.reporting.report import write_report
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.tables import classes_table, render_plain, standings_table

Results = list[CandidateResult]


def planned(**changes: Any) -> Plan:
    raw: dict[str, Any] = {
        "name": "tiny",
        "method": "eca_mkdad",
        "datasets": ["digits"],
        "baselines": [],
        "normal_classes": [0],
        "placements": ["eca", "mkdad"],
    }
    given = {name: value for name, value in {**raw, **changes}.items() if value is not None}
    spec = SweepSpec.model_validate(given)
    facts = {name: DatasetFacts(dataset_row(name), name) for name in spec.datasets}
    return make_plan(spec, facts, "7" * 64)


def cost(milliseconds: float) -> Cost:
    deployed = network_cost(300, 3000, 10_000 * milliseconds)
    return Cost(deployed=deployed, student=network_cost(100, 1000, 1000 * milliseconds))


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


def cells(table: Table) -> list[list[str]]:
    """Heading and rows, as text."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def aurocs(one: Compared) -> dict[str, list[float]]:
    return {own: one.of_class(own, "auroc") for own in one.classes}


# Groups


def test_students_are_told_apart_by_the_axes_that_vary() -> None:
    found = compare(finished(planned(), [0.6, 0.7]))
    assert [(one.dataset, one.words, aurocs(one), one.cost) for one in found] == [
        ("digits", "eca", {"0": [0.6]}, cost(1)),
        ("digits", "mkdad", {"0": [0.7]}, cost(2)),
    ]


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
    assert [one.words for one in found] == students


def test_seeds_are_one_configuration() -> None:
    eca, mkdad = compare(finished(planned(seeds=2), [0.5, 0.7, 0.8, 0.9]))
    assert (eca.words, aurocs(eca), eca.seeds) == ("eca", {"0": [0.5, 0.7]}, (0, 1))
    assert (mkdad.words, aurocs(mkdad)) == ("mkdad", {"0": [0.8, 0.9]})
    assert eca.mean("auroc") == pytest.approx(0.6)
    assert eca.spread("auroc") == pytest.approx(0.02**0.5)  # of 0.5 and 0.7


def test_the_spread_is_that_of_the_mean_over_classes() -> None:
    """Classes differ far more than seeds: what counts is by how much the table's number moves."""
    plan = planned(normal_classes=[0, 1], placements=["eca"], seeds=2)
    (found,) = compare(finished(plan, [0.5, 0.6, 0.9, 0.8]))
    assert found.mean("auroc") == pytest.approx(0.7)
    assert found.spread("auroc") == pytest.approx(0.0)


def test_a_seed_that_failed_on_a_class_says_nothing_of_the_spread() -> None:
    plan = planned(normal_classes=[0, 1], placements=["eca"], seeds=2)
    results = finished(plan, [0.5, 0.6, 0.9, 0.8])
    results[1] = CandidateResult(results[1].candidate, "failed", "Diverged")
    (found,) = compare(results)
    assert (found.seeds, found.spread("auroc")) == ((0,), None)
    assert found.mean("auroc") == pytest.approx((0.5 + 0.85) / 2)


def test_a_lambda_that_differs_by_dataset_alone_makes_no_other_students() -> None:
    plan = planned(**TWO_TASKS)
    assert {c.axes["lambda"] for c in plan.candidates} == {0.01, 0.1}
    found = compare(finished(plan, [0.1, 0.2, 0.3, 0.4]))
    assert [(one.dataset, one.words, aurocs(one)) for one in found] == [
        ("digits", "eca", {"0": [0.1]}),
        ("digits", "mkdad", {"0": [0.2]}),
        ("mvtec", "eca", {"grid": [0.3]}),
        ("mvtec", "mkdad", {"grid": [0.4]}),
    ]


def test_what_is_not_finished_is_not_compared() -> None:
    results = finished(planned(**TWO_TASKS), [0.1, 0.2, 0.3, 0.4])
    results[1] = CandidateResult(results[1].candidate, "failed", "Diverged")
    assert [(one.dataset, one.words) for one in compare(results)] == [
        ("digits", "eca"),
        ("mvtec", "eca"),
        ("mvtec", "mkdad"),
    ]


def test_of_nothing_finished_there_is_no_comparison(tmp_path: Path) -> None:
    results = [CandidateResult(c, "unfinished", "why") for c in planned().candidates]
    assert compare([]) == compare(results) == []
    write_report(results, "holdout", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"candidates.txt", "candidates.json"}
    assert "unfinished" in (tmp_path / "candidates.txt").read_text()


def test_p_kdgans_structures_are_compared_as_well(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(structures=["kdgan-2", "alone"])
    assert [one.words for one in compare(finished(plan, [0.5, 0.6]))] == ["kdgan-2", "alone"]


def test_each_result_has_the_mean_and_spread_of_its_seeds_on_its_task() -> None:
    plan = planned(seeds=2, placements=["eca"], normal_classes=[0, 1])
    results = finished(plan, [0.5, 0.7, 0.8, 0.8])
    results[3] = CandidateResult(results[3].candidate, "failed", "Diverged")
    found = {(r.candidate.normal_class, r.candidate.seed): own for r, own in over_seeds(results)}
    assert found.keys() == {("0", 0), ("0", 1), ("1", 0)}
    assert found["0", 0] == found["0", 1]
    assert found["0", 0]["seeds"] == 2
    assert found["0", 0]["auroc_mean"] == pytest.approx(0.6)
    assert found["0", 0]["auroc_spread"] == pytest.approx(0.02**0.5)
    assert found["1", 0]["auroc_mean"] == 0.8
    assert "auroc_spread" not in found["1", 0]
    assert {name for own in found.values() for name in own} <= set(OVER_SEEDS) <= TAKEN_AXES


# Standings

MANY: dict[str, Any] = {"normal_classes": list(range(8)), "seeds": 2}


def stand(plan: Plan, value: Callable[[Candidate, int], float | None]) -> dict[str, Standing]:
    """Standings by words, of AUROCs by candidate and its number; None is a failure."""
    found = [value(c, n) for n, c in enumerate(plan.candidates)]
    results = finished(plan, [0.0 if auroc is None else auroc for auroc in found])
    for n, auroc in enumerate(found):
        if auroc is None:
            results[n] = CandidateResult(results[n].candidate, "failed", "Diverged")
    return {one.compared.words: one for one in standings(compare(results), "paper")}


def is_eca(candidate: Candidate) -> bool:
    return candidate.axes.get("placement") == "eca"


def test_a_difference_that_every_class_shows_is_told() -> None:
    found = stand(planned(**MANY), lambda c, n: 0.8 + n / 1000 + 0.1 * is_eca(c))
    assert found["eca"].is_best
    below = found["mkdad"]
    assert below.below_best == pytest.approx(0.098)
    assert below.p == pytest.approx(2 / 2**8)
    assert below.told_apart
    assert below.verdict == "-0.0980, p 0.008"


def test_a_difference_that_comes_and_goes_is_not_told() -> None:
    found = stand(planned(**MANY), lambda c, n: [0.9, 0.8, 0.7, 0.85, 0.81][n % 5])
    (below,) = (one for one in found.values() if not one.is_best)
    assert not below.told_apart
    assert below.verdict.endswith("not told apart")


def test_seeds_do_not_make_a_few_classes_many() -> None:
    """Of one class, twenty seeds are twenty differences; of eight classes, each class is one."""
    plan = planned(normal_classes=list(range(8)), seeds=20)
    found = stand(plan, lambda c, n: 0.8 + 0.1 * is_eca(c) * (int(c.normal_class) < 5))
    assert found["mkdad"].p == pytest.approx(0.0625)  # five of one sign, three of none
    plan = planned(normal_classes=[0], seeds=20)
    assert stand(plan, lambda c, n: 0.8 + 0.1 * is_eca(c))["mkdad"].told_apart


def test_students_of_one_teacher_are_no_independent_seeds(plan_of: Callable[..., Plan]) -> None:
    def value(candidate: Candidate, n: int) -> float:
        return 0.8 + 0.1 * (candidate.axes["structure"] == "kdgan-1")

    for seed, verdict in ((None, "-0.1000, p 0.008"), (0, "-0.1000, too few to tell")):
        plan = plan_of(structures=["kdgan-1", "kdgan-2"], seeds=8, teacher={"seed": seed})
        assert stand(plan, value)["kdgan-2"].verdict == verdict


TAUGHT = {
    "method": "pkdgan",
    "placements": None,
    "structures": ["teacher", "alone", "kdgan-1", "p-kdgan-23"],
    "scores": ["paper"],
    "normal_classes": list(range(8)),
    "seeds": 2,
}


def taught() -> Results:
    """KDGAN-1 is above the same student alone by 0.1, with the second seed by 0.12."""
    by_structure = {"teacher": 0.95, "alone": 0.7, "kdgan-1": 0.8, "p-kdgan-23": 0.7}
    plan = planned(**TAUGHT)
    aurocs = []
    for candidate in plan.candidates:
        structure = candidate.axes["structure"]
        lucky = 0.02 * (structure == "kdgan-1" and candidate.seed)
        turn = 0.01 * (-1) ** int(candidate.normal_class) * (structure == "p-kdgan-23")
        aurocs.append(by_structure[structure] + lucky + turn)
    return [
        replace(result, evaluation=replace(result.evaluation, test_auroc=auroc))
        for result, auroc in zip(finished(plan, aurocs), aurocs, strict=True)
    ]


def test_what_distillation_adds_is_the_difference_to_the_same_student_alone() -> None:
    found = {s.compared.words: s for s in standings(compare(taught()), "holdout")}
    assert found["teacher"].alone is None
    assert found["alone"].alone is None
    helped, idle = found["kdgan-1"].alone, found["p-kdgan-23"].alone
    assert helped is not None
    assert idle is not None
    assert helped.above == pytest.approx(0.11)
    assert helped.spread == pytest.approx(0.02 / 2**0.5)
    assert helped.p is not None
    assert helped.p < 0.05
    assert helped.verdict.startswith("+0.1100 +- 0.0141, p 0.0")
    assert idle.verdict == "+0.0000 +- 0.0000, not told apart"
    row = found["kdgan-1"].as_row()
    assert (row["above_alone"], row["above_alone_p"]) == (helped.above, helped.p)
    heading, *rows = cells(standings_table(list(found.values()), "holdout"))
    shown = {row[0]: row[heading.index("vs alone")] for row in rows}
    assert (shown["alone"], shown["kdgan-1"]) == ("", helped.verdict)


def test_each_result_has_what_distillation_added_on_its_task() -> None:
    for result, found in over_seeds(taught()):
        expected = {"kdgan-1": 0.11, "p-kdgan-23": 0.01 * (-1) ** int(result.candidate.task[1])}
        structure = result.candidate.axes["structure"]
        assert found.get("above_alone") == pytest.approx(expected.get(structure))


def test_what_the_correction_leaves_no_room_for_is_too_few_to_tell() -> None:
    plan = planned(placements=["eca", "mkdad", "se"], normal_classes=[0, 1], seeds=3)
    found = stand(plan, lambda c, n: 0.8 + 0.1 * is_eca(c))
    assert found["mkdad"].verdict == found["se"].verdict == "-0.1000, too few to tell"


def test_the_best_has_all_classes() -> None:
    """One that failed on the hardest class has a higher mean, and is no better."""
    hard = {"7": 0.3}

    def value(candidate: Candidate, n: int) -> float | None:
        level = hard.get(candidate.normal_class, 0.9)
        if is_eca(candidate):
            return level
        return None if candidate.normal_class == "7" else level - 0.03

    found = stand(planned(**MANY), value)
    assert found["eca"].is_best
    assert not found["mkdad"].is_best
    assert found["mkdad"].verdict == "-0.0300, p 0.016"


def test_students_with_no_seed_in_common_are_not_compared() -> None:
    plan = planned(
        method=None,
        placements=None,
        methods=[
            {"method": "eca_mkdad", "placements": ["eca"], "seeds": [0]},
            {"method": "eca_mkdad", "placements": ["mkdad"], "seeds": [1]},
        ],
    )
    found = stand(plan, lambda c, n: 0.8 + 0.1 * is_eca(c))
    assert (found["eca"].verdict, found["mkdad"].verdict) == ("best", "nothing in common")


def with_baselines(baseline: float, **student: float) -> dict[str, Standing]:
    """Standings where each placement has one AUROC on every class and seed, give or take."""
    plan = planned(**MANY, baselines=["knn", "pca"])
    around = [0.01, -0.01, 0.02, -0.02, 0.015, -0.015, 0.03, -0.03]

    def value(candidate: Candidate, n: int) -> float:
        if candidate.configuration.kind == "baseline":
            return baseline
        return student[candidate.axes["placement"]] + around[int(candidate.normal_class)]

    results = []
    for n, candidate in enumerate(plan.candidates):
        dear = candidate.configuration.method == "knn"
        flops = 500_000 if dear else 500
        evaluation = Evaluation(value(candidate, n), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
        own = alone(300, flops) if candidate.configuration.kind == "baseline" else None
        results.append(
            CandidateResult(candidate, "finished", evaluation=evaluation, cost=own or cost(1))
        )
    return {one.compared.words: one for one in standings(compare(results), "paper")}


def test_a_cheaper_baseline_that_equals_or_beats_a_student_is_named() -> None:
    found = with_baselines(0.8, eca=0.6, mkdad=0.801)
    assert found["eca"].kept_up_with == ("pca",)  # knn costs more than the students
    assert found["mkdad"].kept_up_with == ("pca",)  # above by 0.001, which is no more than chance
    assert with_baselines(0.5, eca=0.6, mkdad=0.8)["eca"].kept_up_with == ()
    assert found["pca"].kept_up_with == ()


def test_a_standing_is_a_row_for_programs() -> None:
    found = with_baselines(0.8, eca=0.6, mkdad=0.801)
    row = found["eca"].as_row()
    assert json.loads(json.dumps(row)) == row
    assert (row["classes"], row["seeds"], row["kind"]) == (8, 2, "student")
    assert row["cheaper_baselines_as_good"] == ["pca"]
    assert row["auroc"] == pytest.approx(0.6, abs=0.03)


# Tables


def test_the_table_of_classes_has_a_column_for_each_task() -> None:
    results = finished(planned(**TWO_TASKS), [0.12344, 0.2, 0.3, 0.4])
    results[1] = CandidateResult(results[1].candidate, "failed", "Diverged")
    assert cells(classes_table(compare(results))) == [
        ["student", "digits 0", "mvtec grid"],
        ["eca", "0.1234", "0.3000"],
        ["mkdad", "-", "0.4000"],
    ]


def test_the_table_has_means_spread_and_cost() -> None:
    plan = planned(seeds=2, placements=["eca"])
    found = standings(compare(finished(plan, [0.5, 0.7])), "paper")
    heading, row = cells(standings_table(found, "paper"))
    said = dict(zip(heading, row, strict=True))
    assert said["student"] == "eca"
    assert said["AUROC"] == "0.6000 +- 0.1414"
    assert (said["params"], said["FLOPs"]) == ("300", "3,000")
    assert (said["classes x seeds"], said["vs best student"]) == ("1 x 2", "best")


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


def test_a_student_that_failed_somewhere_with_every_seed_still_has_a_bar() -> None:
    plan = planned(normal_classes=list(range(7)), seeds=2, placements=["eca"])
    results = finished(plan, [0.5] * 14)
    for lost in (0, 3):  # the first seed on one class, the second on another
        results[lost] = CandidateResult(results[lost].candidate, "failed", "Diverged")
    quality, _ = drawn(comparison_figure(compare(results)))
    assert [bar.get_height() for bar in quality.patches] == pytest.approx([0.5])


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
    compared = compare(results)
    found = standings(compared, "paper")
    tables = (standings_table(found, "paper"), classes_table(compared))
    assert (folder / "comparison.txt").read_text() == "\n".join(map(render_plain, tables))
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert "candidates (protocol paper)" in (folder / "candidates.txt").read_text()
    content = json.loads((folder / "candidates.json").read_text())
    assert content["configurations"] == [standing.as_row() for standing in found]
    rows = content["candidates"]
    assert rows == [result.as_row() for result in results]
    assert [(row["placement"], row["auroc"], row["student_latency_us"] / 1000) for row in rows] == [
        ("eca", 0.6, 1),
        ("mkdad", 0.7, 2),
    ]
