"""What a sweep has to say at its end: tables, and files to keep."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from rich.table import Table
from rich.text import Text

from kd_models.complexity import Cost
from kd_models.metrics import Evaluation
from kd_models.names import together
from kd_models.values import spell
from orchestrator.progress import PLAIN_WIDTH, console
from orchestrator.results import CandidateResult

Columns = Mapping[str, Callable[[CandidateResult, Evaluation, Cost], str]]

_ALWAYS: Columns = {
    "AUROC": lambda r, found, cost: f"{found.auroc:.4f}",
    "gmean": lambda r, found, cost: f"{found.gmean:.4f}",
    "FPR": lambda r, found, cost: f"{found.fpr:.4f}",
    "FNR": lambda r, found, cost: f"{found.fnr:.4f}",
    "vs teacher": lambda r, found, cost: _number(r.difference, "+.4f"),
    "params": lambda r, found, cost: f"{cost.params:,}",
    "FLOPs": lambda r, found, cost: f"{cost.flops:,}",
    "ms": lambda r, found, cost: f"{cost.latency_ms:.2f}",
}
_WITH_TEACHER: Columns = {
    "student params": lambda r, found, cost: f"{cost.student_params:,}",
    "student FLOPs": lambda r, found, cost: f"{cost.student_flops:,}",
    "student ms": lambda r, found, cost: f"{cost.student_latency_ms:.2f}",
}
_WITH_MASKS: Columns = {
    "pixel AUROC": lambda r, found, cost: _number(r.localisation.get("pixel_auroc"), ".4f"),
    "PRO": lambda r, found, cost: _number(r.localisation.get("pro"), ".4f"),
}


def candidates_table(results: list[CandidateResult], protocol: str) -> Table:
    """Return one row per candidate: quality, difference to its teacher, cost.

    Axes that are the same for every candidate have no column, but for the method's first. Cost is
    of all that must be deployed to score one image, and of the student alone where that is less;
    ``ms`` is the latency on one CPU thread here.
    """
    table = Table(title=f"candidates (protocol {protocol})")
    own = list(results[0].candidate.axes) if results else []
    axes: dict[str, Callable[[CandidateResult], str]] = {
        "dataset": lambda r: r.candidate.dataset,
        "class": lambda r: r.candidate.normal_class,
        **{name: partial(_axis, name) for name in own},
        "seed": lambda r: str(r.candidate.seed),
    }
    always = ("dataset", "class", *own[:1])
    shown = {
        name: value
        for name, value in axes.items()
        if name in always or len({value(r) for r in results}) > 1
    }
    for name in shown:
        table.add_column(name, overflow="fold")
    columns = dict(_ALWAYS)
    if any(r.localisation for r in results):
        columns |= _WITH_MASKS
    if any(r.cost and r.cost.student_params != r.cost.params for r in results):
        columns |= _WITH_TEACHER
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for result in results:
        # As Text: a folder's name may look like markup.
        axes_cells = (Text(value(result)) for value in shown.values())
        table.add_row(*axes_cells, *_cells(result, columns))
    return table


def _cells(result: CandidateResult, columns: Columns) -> list[str]:
    if result.evaluation is None or result.cost is None:
        return [result.status] + [""] * (len(columns) - 1)
    return [cell(result, result.evaluation, result.cost) for cell in columns.values()]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


MOST_TASKS = 6
"""datasets and normal classes that are compared one by one"""


@dataclass(frozen=True)
class Compared:
    """What the students of one combination of a method's axes came to, over seeds."""

    student: str
    """the axes that vary, in words"""
    aurocs: Mapping[str, tuple[float, ...]]
    """by task, one for every seed (and class)"""
    cost: Mapping[str, Cost]
    """by task"""


def compare(results: Sequence[CandidateResult]) -> list[Compared]:
    """Group the finished results by the method's axes; the order is that of the plan.

    A task is a dataset and normal class, or, where these are many, a dataset with all its classes.
    """
    finished = [r for r in results if r.evaluation is not None and r.cost is not None]
    own = list(finished[0].candidate.axes) if finished else []
    tasks = _by_task(finished)
    whole_datasets = len(tasks) > MOST_TASKS
    # Lambda as the paper sets it varies with the dataset: that is no reason to tell students apart.
    varying = [
        name for name in own if any(len({_axis(name, r) for r in of}) > 1 for of in tasks.values())
    ]
    groups: dict[str, list[CandidateResult]] = {}
    for result in finished:
        words = " ".join(_axis(name, result) for name in varying or own[:1])
        groups.setdefault(words, []).append(result)
    return [
        Compared(
            student,
            {
                task: tuple(r.evaluation.auroc for r in of if r.evaluation)
                for task, of in by.items()
            },
            {task: of[0].cost for task, of in by.items() if of[0].cost},
        )
        for student, group in groups.items()
        for by in (_by_task(group, whole_datasets),)
    ]


def comparison_table(compared: Sequence[Compared]) -> Table:
    """Return one row per combination: mean AUROC of each task, of how many, and inference times."""
    tasks = list(dict.fromkeys(task for one in compared for task in one.aurocs))
    table = Table(title="compared: mean AUROC (whole test split) and ms for an image")
    table.add_column("student")
    for task in tasks:
        table.add_column(f"{task} AUROC", justify="right")
        table.add_column("student ms", justify="right")
        table.add_column("deployed ms", justify="right")
    for one in compared:
        cells = [Text(one.student)]
        for task in tasks:
            if task not in one.aurocs:
                cells += [Text("-")] * 3
                continue
            cost = one.cost[task]
            found = one.aurocs[task]
            cells += [
                Text(f"{mean(found):.4f}" + (f" ({len(found)})" if len(found) > 1 else "")),
                Text(f"{cost.student_latency_ms:.2f}"),
                Text(f"{cost.latency_ms:.2f}"),
            ]
        table.add_row(*cells)
    return table


def _by_task(
    results: Sequence[CandidateResult], whole_datasets: bool = False
) -> dict[str, list[CandidateResult]]:
    tasks: dict[str, list[CandidateResult]] = {}
    for result in results:
        candidate = result.candidate
        task = (
            candidate.dataset
            if whole_datasets
            else together(candidate.dataset, candidate.normal_class)
        )
        tasks.setdefault(task, []).append(result)
    return tasks


def write_report(results: list[CandidateResult], protocol: str, folder: Path) -> None:
    """Write the tables as text, the plot, and everything as JSON into ``folder``."""
    from orchestrator.figures import comparison_figure  # matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    compared = compare(results)
    (folder / "candidates.txt").write_text(
        render_plain(candidates_table(results, protocol)), encoding="utf-8"
    )
    (folder / "candidates.json").write_text(
        json.dumps({"candidates": [result.as_row() for result in results]}, indent=1) + "\n",
        encoding="utf-8",
    )
    if compared:
        (folder / "comparison.txt").write_text(
            render_plain(comparison_table(compared)), encoding="utf-8"
        )
        comparison_figure(compared).savefig(folder / "comparison.png", dpi=150)


def _axis(name: str, result: CandidateResult) -> str:
    return spell(result.candidate.axes[name])


def render_plain(table: Table) -> str:
    """Return the table as text without colours, for files and logs."""
    buffer = io.StringIO()
    console(file=buffer, width=PLAIN_WIDTH).print(table)
    return buffer.getvalue()
