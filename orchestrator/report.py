"""The table at the end of a sweep."""

import io
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kd_models.values import spell
from orchestrator.results import CandidateResult

_COLUMNS = ("AUROC", "gmean", "FPR", "FNR", "vs teacher", "params", "FLOPs", "ms")


def candidates_table(results: list[CandidateResult], protocol: str) -> Table:
    """Return one row per candidate: quality, difference to its teacher, cost.

    Axes that are the same for every candidate have no column, but for the method's first. Cost is
    of all that must be deployed to score one image; ``ms`` is its latency on one CPU thread here.
    """
    table = Table(title=f"candidates (protocol {protocol})")
    own = list(results[0].candidate.axes) if results else []
    axes = {
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
        table.add_column(name)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for result in results:
        # As Text: a folder's name may look like markup.
        axes_cells = (Text(value(result)) for value in shown.values())
        table.add_row(*axes_cells, *_cells(result))
    return table


def _axis(name: str, result: CandidateResult) -> str:
    return spell(result.candidate.axes[name])


def _cells(result: CandidateResult) -> tuple[str, ...]:
    if result.evaluation is None or result.cost is None:
        return (result.status,) + ("",) * (len(_COLUMNS) - 1)
    found, difference = result.evaluation, result.difference
    return (
        f"{found.auroc:.4f}",
        f"{found.gmean:.4f}",
        f"{found.fpr:.4f}",
        f"{found.fnr:.4f}",
        "-" if difference is None else f"{difference:+.4f}",
        f"{result.cost.params:,}",
        f"{result.cost.flops:,}",
        f"{result.cost.latency_ms:.2f}",
    )


def render_plain(table: Table) -> str:
    """Return the table as text without colours, for files and logs."""
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(table)
    return buffer.getvalue()
