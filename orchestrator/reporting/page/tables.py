"""The page's tables: configurations, the papers' numbers, candidates, and what is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import TypeVar

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from kd_score.names import harmless
from orchestrator.planning.stage import Candidate, telling
from orchestrator.reporting.comparison import Compared, Standing
from orchestrator.reporting.page.plotted import Plotted
from orchestrator.reporting.page.table import (
    NOTHING,
    Cell,
    Column,
    PageTable,
    number,
    said,
    with_spread,
)
from orchestrator.reporting.results import LOCALISATION, CandidateResult
from orchestrator.reporting.tables import axis_value

_COSTS: Mapping[str, tuple[str, Callable[[Cost], Cell]]] = {
    "params": ("parameters to deploy", lambda cost: Cell(f"{cost.deployed.params:,}")),
    "FLOPs": ("FLOPs for an image", lambda cost: Cell(f"{cost.deployed.flops:,}")),
    "\N{MICRO SIGN}s": (
        "median latency of an image on one CPU thread, microseconds",
        lambda cost: Cell(f"{cost.deployed.latency_us:,.0f}"),
    ),
    "bytes": ("of the exported model", lambda cost: Cell(f"{cost.deployed.size_bytes:,}")),
}
_TIMES = "\N{MULTIPLICATION SIGN}"
_LOCALISED = dict(zip(LOCALISATION, ("pixel AUROC", "PRO"), strict=True))
_WHOLE = ("AUROC", "over the whole test split")
_VALIDATION = ("validation half", "AUROC over one half of the test images, for choosing")
_TEST = ("test half", "AUROC over the other half, for reporting")
_VS_TEACHER = ("vs teacher", "AUROC above the teacher")
_VS_ALONE = ("vs alone", "AUROC above the same student trained without a teacher")
_EVALUATED = {
    "auroc": _WHOLE,
    "val_auroc": _VALIDATION,
    "test_auroc": _TEST,
    "gmean": ("gmean", "of true positive and true negative rate at the threshold"),
    "fpr": ("FPR", "normal images flagged"),
    "fnr": ("FNR", "novel images missed"),
}

T = TypeVar("T")

_Columns = list[tuple[Column, Callable[[T], Cell]]]


def standings_table(found: Sequence[Standing]) -> PageTable:
    """Return a row for each configuration on each dataset."""
    columns: _Columns[Standing] = [
        (Column("configuration"), lambda own: Cell(own.compared.words)),
        (_few("dataset"), lambda own: Cell(own.compared.dataset)),
        (_few("kind"), lambda own: Cell(own.compared.configuration.kind)),
    ]
    if len({own.compared.configuration.method for own in found}) > 1:
        columns.append((_few("method"), lambda own: Cell(own.compared.configuration.group)))
    columns += [
        (_number(*_WHOLE), _spread("auroc")),
        (_number(*_VALIDATION), _spread("val_auroc")),
        (_number(*_TEST), _spread("test_auroc")),
        (_number(*_VS_TEACHER), _spread("difference_to_teacher", "+.4f")),
    ]
    if any(standing.alone for standing in found):
        columns.append((_number(*_VS_ALONE), lambda own: Cell(_alone(own))))
    columns += [
        (
            _number("vs best student", "AUROC above the best student"),
            lambda own: Cell(said(own.verdict), 0.0 if own.is_best else None),
        ),
        (
            Column("as good and no dearer", about="baselines that it is not shown to beat"),
            lambda own: Cell(", ".join(own.kept_up_with)),
        ),
    ]
    columns += [
        (_number(name), _spread(metric))
        for metric, name in _LOCALISED.items()
        if any(own.compared.mean(metric) is not None for own in found)
    ]
    columns += [
        (_number(name, about), partial(_cost, of=cost)) for name, (about, cost) in _COSTS.items()
    ]
    columns.append((Column(f"classes {_TIMES} seeds"), lambda own: Cell(_sizes(own.compared))))
    return _table("standings", "Configurations compared", columns, found)


def classes_table(shown: Sequence[Plotted], classes: Mapping[str, str], key: str) -> PageTable:
    """Return the mean AUROC of a dataset's detectors on each class.

    Args:
        shown: the detectors.
        classes: what classes are called, by their keys.
        key: of the table.
    """
    columns: _Columns[Plotted] = [(Column("configuration"), lambda one: Cell(one.words))]
    columns += [(_number(name), partial(_of_class, own=own)) for own, name in classes.items()]
    caption = f"Mean AUROC by class of {shown[0].dataset}"
    return replace(_table(key, caption, columns, shown), may_filter=False)


def candidates_table(results: Sequence[CandidateResult]) -> PageTable:
    """Return a row for each candidate, finished or not."""
    candidates = [result.candidate for result in results]
    tell = telling(candidates)
    words: list[tuple[Column, Callable[[Candidate], str]]] = [
        (Column("configuration"), lambda own: tell.words(own.configuration)),
        (_few("dataset"), lambda own: own.dataset),
        (_few("class"), lambda own: own.normal_class),
    ]
    if any(own.normal_class_name != own.normal_class for own in candidates):
        words.append((Column("class name"), lambda own: own.normal_class_name))
    words += [
        (_few("method"), lambda own: own.configuration.group),
        (_few("kind"), lambda own: own.configuration.kind),
        *((_few(axis), partial(axis_value, axis=axis)) for axis in tell.axes),
        (_number("seed"), lambda own: str(own.seed)),
    ]
    columns: _Columns[CandidateResult] = [
        (column, partial(_word, of=word)) for column, word in words
    ]
    columns.append((_few("status"), lambda own: Cell(own.status)))
    columns += [
        (_number(*words), partial(_evaluated, metric=metric))
        for metric, words in _EVALUATED.items()
    ]
    columns.append((_number(*_VS_TEACHER), lambda own: number(own.difference, "+.4f")))
    columns += [
        (_number(name), partial(_localised, metric=metric))
        for metric, name in _LOCALISED.items()
        if any(metric in result.localisation for result in results)
    ]
    columns += [
        (_number(name, about), partial(_cost, of=cost)) for name, (about, cost) in _COSTS.items()
    ]
    return _table("all-candidates", "Candidates", columns, results)


def missing_table(results: Sequence[CandidateResult]) -> PageTable:
    """Return a row for each candidate that is not finished, with its reason."""
    columns: _Columns[CandidateResult] = [
        (Column("candidate"), lambda own: Cell(own.candidate.name())),
        (_few("status"), lambda own: Cell(own.status)),
        (Column("reason"), lambda own: Cell(harmless(own.reason))),
    ]
    lost = [result for result in results if result.status != "finished"]
    return _table("not-finished", "Candidates that are not finished", columns, lost)


def _evaluated(result: CandidateResult, metric: str) -> Cell:
    found: Evaluation | None = result.evaluation
    return number(None if found is None else getattr(found, metric))


def _localised(result: CandidateResult, metric: str) -> Cell:
    return number(result.localisation.get(metric))


def _word(result: CandidateResult, of: Callable[[Candidate], str]) -> Cell:
    return Cell(of(result.candidate))


def _cost(one: Standing | CandidateResult, of: Callable[[Cost], Cell]) -> Cell:
    cost = one.compared.cost if isinstance(one, Standing) else one.cost
    return NOTHING if cost is None else of(cost)


def _of_class(one: Plotted, own: str) -> Cell:
    values = one.aurocs.get(own)
    return number(mean(values) if values else None)


def _alone(standing: Standing) -> str:
    return said(standing.alone.verdict) if standing.alone else ""


def _sizes(one: Compared) -> str:
    return f"{len(one.classes)} {_TIMES} {len(one.seeds)}"


def _spread(metric: str, form: str = ".4f") -> Callable[[Standing], Cell]:
    return lambda standing: with_spread(standing.compared, metric, form)


def _few(name: str) -> Column:
    return Column(name, may_choose=True)


def _number(name: str, about: str = "") -> Column:
    return Column(name, is_number=True, about=about)


def _table(key: str, caption: str, columns: _Columns[T], of: Sequence[T]) -> PageTable:
    rows = [[cell(one) for _, cell in columns] for one in of]
    return PageTable(key, caption, [column for column, _ in columns], rows)
