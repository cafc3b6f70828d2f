"""Tables of a sweep's candidates and of students compared."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean

from rich.table import Table
from rich.text import Text

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from kd_models.values import short_text
from kd_score.names import together
from orchestrator.console import PLAIN_WIDTH, console
from orchestrator.planning.stage import Candidate, telling
from orchestrator.reporting.comparison import Compared, Standing
from orchestrator.reporting.results import CandidateResult

_Columns = Mapping[str, Callable[[CandidateResult, Evaluation, Cost], str]]

_ALWAYS: _Columns = {
    "AUROC": lambda result, found, cost: f"{found.auroc:.4f}",
    "gmean": lambda result, found, cost: f"{found.gmean:.4f}",
    "FPR": lambda result, found, cost: f"{found.fpr:.4f}",
    "FNR": lambda result, found, cost: f"{found.fnr:.4f}",
    "vs teacher": lambda result, found, cost: _number(result.difference, "+.4f"),
    "params": lambda result, found, cost: f"{cost.deployed.params:,}",
    "FLOPs": lambda result, found, cost: f"{cost.deployed.flops:,}",
    "us": lambda result, found, cost: f"{cost.deployed.latency_us:,.0f}",
}
_WITH_TEACHER: _Columns = {
    "student params": lambda result, found, cost: f"{cost.student.params:,}",
    "student FLOPs": lambda result, found, cost: f"{cost.student.flops:,}",
    "student us": lambda result, found, cost: f"{cost.student.latency_us:,.0f}",
}
_WITH_MASKS: _Columns = {
    "pixel AUROC": lambda result, *_: _number(result.localisation.get("pixel_auroc"), ".4f"),
    "PRO": lambda result, *_: _number(result.localisation.get("pro"), ".4f"),
}


def candidates_table(results: Sequence[CandidateResult], protocol: str) -> Table:
    """Return one row per candidate: quality, difference to its teacher, cost.

    Axes by which no two candidates differ have no column, except the method's first. Cost is
    of all that must be deployed to score one image, and of the student alone where that is less;
    ``us`` is the latency in microseconds of the exported model on one CPU thread here.
    """
    table = Table(title=f"candidates (protocol {protocol})")
    candidates = [result.candidate for result in results]
    tell = telling(candidates)
    first = [name for candidate in candidates[:1] for name in candidate.axes][:1]
    always: dict[str, Callable[[Candidate], str]] = {
        "dataset": lambda c: c.dataset,
        "class": lambda c: c.normal_class,
    }
    if len({candidate.configuration.group for candidate in candidates}) > 1:
        always["method"] = lambda c: c.configuration.group
    axes = {name: partial(axis_value, axis=name) for name in dict.fromkeys([*first, *tell.axes])}
    shown: dict[str, Callable[[Candidate], str]] = {**always, **axes}
    if len({candidate.seed for candidate in candidates}) > 1:
        shown["seed"] = lambda c: str(c.seed)
    for name in shown:
        table.add_column(name, overflow="fold")
    columns = dict(_ALWAYS)
    if any(result.localisation for result in results):
        columns |= _WITH_MASKS
    if any(r.cost is not None and r.cost.student != r.cost.deployed for r in results):
        columns |= _WITH_TEACHER
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for result in results:
        # As Text: a folder's name may look like markup.
        axes_cells = (Text(value(result.candidate)) for value in shown.values())
        table.add_row(*axes_cells, *_cells(result, columns))
    return table


def axis_value(candidate: Candidate, axis: str) -> str:
    """Return a candidate's value on an axis in a short word, if it has that axis."""
    return short_text(candidate.axes[axis]) if axis in candidate.axes else ""


def _cells(result: CandidateResult, columns: _Columns) -> list[str]:
    if result.evaluation is None or result.cost is None:
        return [result.status] + [""] * (len(columns) - 1)
    return [cell(result, result.evaluation, result.cost) for cell in columns.values()]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def standings_table(found: Sequence[Standing], protocol: str) -> Table:
    """Return one row per dataset and configuration: means over classes and seeds, and verdicts.

    ``+-`` is the standard deviation over seeds of the mean over classes. ``vs alone`` is the
    difference to the same student trained without a teacher: what distillation adds.
    """
    title = f"compared (protocol {protocol}): means over normal classes, +- spread over seeds"
    table = Table(title=title)
    datasets = {one.compared.dataset for one in found}
    names = ["dataset"] * (len(datasets) > 1) + ["student"]
    for name in names:
        table.add_column(name, overflow="fold")
    measured: dict[str, Callable[[Compared], str]] = {
        "AUROC": lambda one: _with_spread(one, "auroc"),
        "test half": lambda one: _with_spread(one, "test_auroc"),
        "gmean": lambda one: _number(one.mean("gmean"), ".4f"),
        "FPR": lambda one: _number(one.mean("fpr"), ".4f"),
        "FNR": lambda one: _number(one.mean("fnr"), ".4f"),
        "vs teacher": lambda one: _with_spread(one, "difference_to_teacher", "+.4f"),
        "params": lambda one: f"{one.cost.deployed.params:,}",
        "FLOPs": lambda one: f"{one.cost.deployed.flops:,}",
        "us": lambda one: f"{one.cost.deployed.latency_us:,.0f}",
        "classes x seeds": lambda one: f"{len(one.classes)} x {len(one.seeds)}",
    }
    for name in measured:
        table.add_column(name, justify="right")
    is_any_taught = any(standing.alone for standing in found)
    if is_any_taught:
        table.add_column("vs alone")
    table.add_column("vs best student")
    table.add_column("as good and no dearer")
    for standing in found:
        one = standing.compared
        place = [one.dataset, one.words][-len(names) :]
        cells = [*place, *(cell(one) for cell in measured.values())]
        if is_any_taught:
            cells.append(standing.alone.verdict if standing.alone else "")
        cells.append(standing.verdict)
        table.add_row(*map(Text, cells), Text(", ".join(standing.kept_up_with)))
    return table


def _with_spread(one: Compared, metric: str, form: str = ".4f") -> str:
    around = one.spread(metric)
    return _number(one.mean(metric), form) + ("" if around is None else f" +- {around:.4f}")


def classes_table(compared: Sequence[Compared]) -> Table:
    """Return one row per configuration, its mean AUROC on each normal class (whole test split)."""
    tasks = list(dict.fromkeys((one.dataset, own) for one in compared for own in one.classes))
    table = Table(title="AUROC by normal class (whole test split), means over seeds")
    table.add_column("student", overflow="fold")
    several = len({dataset for dataset, _ in tasks}) > 1
    for dataset, normal_class in tasks:
        name = together(dataset, normal_class) if several else normal_class
        table.add_column(Text(name), justify="right", overflow="fold")
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for one in compared:
        for own in one.classes:
            cell = f"{mean(one.of_class(own, 'auroc')):.4f}"
            rows.setdefault(one.words, {})[one.dataset, own] = cell
    for words, cells in rows.items():
        table.add_row(Text(words), *(Text(cells.get(task, "-")) for task in tasks))
    return table


def render_plain(table: Table) -> str:
    """Return the table as text without colours, for files and logs."""
    buffer = io.StringIO()
    console(file=buffer, width=PLAIN_WIDTH).print(table)
    return buffer.getvalue()
