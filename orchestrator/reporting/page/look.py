"""How the page's figures look: told apart by shape as well as by colour, on a phone too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kd_score.names import shortened

WIDTH = 5.0
"""inches; an inch is 72 of the picture's units, and a phone is some 360 of them wide"""
_LEGEND_LINE = 0.22
_LONGEST_NAME = 30

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7B61C9", "#B58900", "#3A9BDC", "#A0522D")
"""each is seen on white and on black (after Okabe and Ito 2008)"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES: Sequence[Any] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "kd",
    "font.size": 11.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "legend.fontsize": 10.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#888888",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True)
class Drawn:
    """A figure of the page.

    Attributes:
        name: of its file, without an ending.
        figure: the figure.
        words: what it shows, for those who cannot see it.
    """

    name: str
    figure: Figure
    words: str


@dataclass(frozen=True)
class Look:
    """What a detector looks like in every figure of its dataset."""

    colour: str
    marker: str
    dashes: Any


def look(place: int) -> Look:
    """Return the look of the detector at a place among those that are shown side by side."""
    return Look(
        COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)]
    )


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save figures in the page's style."""
    with mpl.rc_context(_STYLE):
        yield


def panel(height: float, legend_lines: int = 0) -> tuple[Figure, Axes]:
    """Return a figure as wide as a phone.

    Args:
        height: inches, without the legend.
        legend_lines: lines of a legend above it.
    """
    size = (WIDTH, height + _LEGEND_LINE * legend_lines)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def label(name: str, most: int = _LONGEST_NAME) -> str:
    """Return a name that fits a legend, distinct from every other."""
    return shortened(name, most)


def task_title(dataset: str, normal_class: str) -> str:
    """Return a dataset and class in words that fit above a figure."""
    return f"{label(dataset, 20)}, {label(normal_class, 22)}"


def legend_columns(names: Sequence[str]) -> int:
    """Return how many names of a legend go beside each other."""
    longest = max(map(len, names), default=0)
    return 1 if longest > 23 else 2 if longest > 12 else 3


def legend_lines(names: Sequence[str]) -> int:
    """Return how many lines a legend has."""
    return -(-len(names) // legend_columns(names))


def put_legend(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Put the legend above the axes."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=legend_columns(names),
        handlelength=2.2,
        columnspacing=1.2,
        borderpad=0.2,
    )


def log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with a few ticks in short numbers."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    is_short = high < 40 * low
    if high < 1.5 * low:  # a single cost, or nearly
        axes.set_xlim(low / 2, high * 2)
    locator = LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08)


def short_number(value: float) -> str:
    """Return a number in few characters: 0.5, 20, 5k, 1.2M, 3G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
