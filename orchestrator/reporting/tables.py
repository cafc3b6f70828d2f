"""Tables of a sweep's candidates and of students compared."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean

from rich.table import Table
from rich.text import Text

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from orchestrator.console import PLAIN_WIDTH, console
from orchestrator.planning.stage import Candidate
from orchestrator.reporting.comparison import Compared, axis_value
from orchestrator.reporting.results import CandidateResult

_Columns = Mapping[str, Callable[[CandidateResult, Evaluation, Cost], str]]

_ALWAYS: _Columns = {
    "AUROC": lambda result, found, cost: f"{found.auroc:.4f}",
    "gmean": lambda result, found, cost: f"{found.gmean:.4f}",
    "FPR": lambda result, found, cost: f"{found.fpr:.4f}",
    "FNR": lambda result, found, cost: f"{found.fnr:.4f}",
    "vs teacher": lambda result, found, cost: _number(result.difference, "+.4f"),
    "params": lambda result, found, cost: f"{cost.params:,}",
    "FLOPs": lambda result, found, cost: f"{cost.flops:,}",
    "ms": lambda result, found, cost: f"{cost.latency_ms:.2f}",
}
_WITH_TEACHER: _Columns = {
    "student params": lambda result, found, cost: f"{cost.student_params:,}",
    "student FLOPs": lambda result, found, cost: f"{cost.student_flops:,}",
    "student ms": lambda result, found, cost: f"{cost.student_latency_ms:.2f}",
}
_WITH_MASKS: _Columns = {
    "pixel AUROC": lambda result, *_: _number(result.localisation.get("pixel_auroc"), ".4f"),
    "PRO": lambda result, *_: _number(result.localisation.get("pro"), ".4f"),
}


def candidates_table(results: Sequence[CandidateResult], protocol: str) -> Table:
    """Return one row per candidate: quality, difference to its teacher, cost.

    Axes that are the same for every candidate have no column, except the method's first. Cost is
    of all that must be deployed to score one image, and of the student alone where that is less;
    ``ms`` is the latency on one CPU thread here.
    """
    table = Table(title=f"candidates (protocol {protocol})")
    candidates = [result.candidate for result in results]
    own = list(candidates[0].axes) if candidates else []
    axes: dict[str, Callable[[Candidate], str]] = {
        "dataset": lambda c: c.dataset,
        "class": lambda c: c.normal_class,
        **{name: partial(axis_value, axis=name) for name in own},
        "seed": lambda c: str(c.seed),
    }
    always = ("dataset", "class", *own[:1])
    shown = {
        name: value
        for name, value in axes.items()
        if name in always or len({value(c) for c in candidates}) > 1
    }
    for name in shown:
        table.add_column(name, overflow="fold")
    columns = dict(_ALWAYS)
    if any(result.localisation for result in results):
        columns |= _WITH_MASKS
    if any(r.cost is not None and r.cost.student_params != r.cost.params for r in results):
        columns |= _WITH_TEACHER
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for result in results:
        # As Text: a folder's name may look like markup.
        axes_cells = (Text(value(result.candidate)) for value in shown.values())
        table.add_row(*axes_cells, *_cells(result, columns))
    return table


def _cells(result: CandidateResult, columns: _Columns) -> list[str]:
    if result.evaluation is None or result.cost is None:
        return [result.status] + [""] * (len(columns) - 1)
    return [cell(result, result.evaluation, result.cost) for cell in columns.values()]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def comparison_table(compared: Sequence[Compared]) -> Table:
    """Return one row per combination: each task's mean AUROC, of how many, and inference times."""
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
            cost = one.costs[task]
            found = one.aurocs[task]
            cells += [
                Text(f"{mean(found):.4f}" + (f" ({len(found)})" if len(found) > 1 else "")),
                Text(f"{cost.student_latency_ms:.2f}"),
                Text(f"{cost.latency_ms:.2f}"),
            ]
        table.add_row(*cells)
    return table


def render_plain(table: Table) -> str:
    """Return the table as text without colours, for files and logs."""
    buffer = io.StringIO()
    console(file=buffer, width=PLAIN_WIDTH).print(table)
    return buffer.getvalue()
