"""What papers report, beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from kd_models.data import dataset_row
from kd_models.methods.registry import method_of
from orchestrator.reporting.comparison import Compared
from orchestrator.reporting.page.table import Cell, Column, PageTable, number, with_spread


@dataclass(frozen=True)
class Published:
    """A configuration that a paper reports.

    Attributes:
        compared: what was measured here.
        auroc: what the paper reports, the mean over all classes.
        classes: how many the dataset has.
    """

    compared: Compared
    auroc: float
    classes: int

    @property
    def difference(self) -> float | None:
        """Return by how much ours is above the paper's; None where ours lacks classes."""
        own = self.compared.mean("auroc")
        if own is None or len(self.compared.classes) < self.classes:
            return None
        return own - self.auroc


def published(compared: Sequence[Compared]) -> list[Published]:
    """Return the configurations that papers report."""
    found = []
    for one in compared:
        configuration = one.configuration
        auroc = method_of(configuration.method).published_of(one.dataset, configuration.axes)
        if auroc is not None:
            found.append(Published(one, auroc, len(dataset_row(one.dataset).classes)))
    return found


def published_table(found: Sequence[Published]) -> PageTable:
    """Return a row for each configuration that a paper reports."""
    columns = (
        Column("configuration"),
        Column("dataset", may_choose=True),
        Column("method", may_choose=True),
        Column("AUROC here", is_number=True, about="mean over classes, over the whole test split"),
        Column("published", is_number=True, about="mean over all classes"),
        Column("difference", is_number=True, about="ours above theirs, where all classes are here"),
        Column("classes", is_number=True, about="that are finished here, of all"),
        Column("seeds", is_number=True),
    )
    rows = [
        [
            Cell(own.compared.words),
            Cell(own.compared.dataset),
            Cell(own.compared.configuration.group),
            with_spread(own.compared, "auroc"),
            number(own.auroc),
            number(own.difference, "+.4f"),
            Cell(f"{len(own.compared.classes)} of {own.classes}"),
            Cell(str(len(own.compared.seeds))),
        ]
        for own in found
    ]
    return PageTable("beside-the-papers", "Published AUROC beside ours", columns, rows)
