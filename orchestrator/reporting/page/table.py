"""Tables as the page shows them: text, with what it is sorted by where that is something else."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.reporting.comparison import Compared

_MOST_CHOICES = 40
"""values of a column that a list can offer"""
_LONGEST_LINE = 28
"""characters"""


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: what it says.
        rank: what it is sorted by, where that is not the number it begins with, or its text.
    """

    text: str
    rank: float | None = None

    @property
    def is_long(self) -> bool:
        """Return whether it needs more than a line."""
        return len(self.text) > _LONGEST_LINE


NOTHING = Cell("-")


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its heading.
        is_number: whether it is sorted as numbers.
        may_choose: whether rows may be chosen by its values, if these are few.
        about: its heading in more words.
    """

    name: str
    is_number: bool = False
    may_choose: bool = False
    about: str = ""

    @property
    def is_long(self) -> bool:
        """Return whether its heading needs more than a line."""
        return len(self.name) > _LONGEST_LINE


@dataclass(frozen=True)
class PageTable:
    """A table. The first cell of a row is its heading.

    Attributes:
        key: its id.
        caption: what it shows.
        columns: its columns.
        rows: its cells by row.
        may_filter: whether rows may be chosen.
    """

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    may_filter: bool = True

    def has_choices(self, place: int) -> bool:
        """Return whether rows can be chosen by the values of the column at a place."""
        values = {row[place].text for row in self.rows}
        return self.columns[place].may_choose and 1 < len(values) <= _MOST_CHOICES


def number(value: float | None, form: str = ".4f") -> Cell:
    """Return a number; a dash where there is none."""
    return NOTHING if value is None else Cell(format(value, form))


def with_spread(one: Compared, metric: str, form: str = ".4f") -> Cell:
    """Return the mean of a metric, and its spread over seeds where there are several."""
    around = one.spread(metric)
    cell = number(one.mean(metric), form)
    return cell if around is None else Cell(f"{cell.text} ± {around:.4f}")


def said(verdict: str) -> str:
    """Return a verdict in the page's signs."""
    return verdict.replace("+-", "±")
