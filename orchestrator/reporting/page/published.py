"""What papers report, beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from kd_models.data import dataset_row
from kd_models.methods.base import Published
from kd_models.methods.registry import method_of
from orchestrator.reporting.comparison import Compared
from orchestrator.reporting.page.table import Cell, Column, PageTable, number, with_spread

_RATES = {
    "gmean": ("gmean", "geometric mean of the shares told right of normal and of novel images"),
    "fpr": ("FPR", "share of normal images that are flagged"),
    "fnr": ("FNR", "share of novel images that are missed"),
}


@dataclass(frozen=True)
class Reported:
    """A configuration that a paper reports.

    Attributes:
        compared: what was measured here.
        published: what the paper reports, the mean over all classes.
        classes: how many the dataset has.
    """

    compared: Compared
    published: Published
    classes: int

    @property
    def difference(self) -> float | None:
        """Return by how much ours is above the paper's; None where ours lacks classes."""
        own = self.compared.mean("auroc")
        if own is None or len(self.compared.classes) < self.classes:
            return None
        return own - self.published.auroc


def published(compared: Sequence[Compared]) -> list[Reported]:
    """Return the configurations that papers report."""
    found = []
    for one in compared:
        configuration = one.configuration
        own = method_of(configuration.method).published_of(one.dataset, configuration.axes)
        if own is not None:
            found.append(Reported(one, own, len(dataset_row(one.dataset).classes)))
    return found


def published_table(found: Sequence[Reported]) -> PageTable:
    """Return a row for each configuration that a paper reports."""
    columns = (
        Column("configuration"),
        Column("dataset", may_choose=True),
        Column("method", may_choose=True),
        Column("AUROC here", is_number=True, about="mean over classes, over the whole test split"),
        Column("published", is_number=True, about="mean over all classes"),
        Column("difference", is_number=True, about="ours above theirs, where all classes are here"),
        *(
            Column(heading, is_number=True, about=about)
            for name, about in _RATES.values()
            for heading in (f"{name} here", f"published {name}")
        ),
        Column("classes", is_number=True, about="that are finished here, of all"),
        Column("seeds", is_number=True),
    )
    rows = [
        [
            Cell(own.compared.words),
            Cell(own.compared.dataset),
            Cell(own.compared.configuration.group),
            with_spread(own.compared, "auroc"),
            number(own.published.auroc),
            number(own.difference, "+.4f"),
            *(
                cell
                for rate in _RATES
                for cell in (
                    with_spread(own.compared, rate),
                    number(getattr(own.published, rate)),
                )
            ),
            Cell(f"{len(own.compared.classes)} of {own.classes}"),
            Cell(str(len(own.compared.seeds))),
        ]
        for own in found
    ]
    return PageTable("beside-the-papers", "What papers report, beside ours", columns, rows)
