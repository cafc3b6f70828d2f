"""AUROC by normal class of the detectors that are shown side by side."""

from collections.abc import Mapping, Sequence
from statistics import mean

from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.page.look import Drawn, label, legend_lines, look, panel, put_legend
from orchestrator.reporting.page.plotted import Plotted
from orchestrator.reporting.statistics import spread

MOST_CLASSES = 24
"""of a dataset"""
_CLASSES_A_FIGURE = 6
_ROW, _GAP = 0.115, 0.14
"""inches of a detector, and between classes"""


def class_figures(shown: Sequence[Plotted], classes: Mapping[str, str], name: str) -> list[Drawn]:
    """Draw the AUROC of detectors on each class, mean and spread over seeds.

    Args:
        shown: the detectors of a dataset, at most as many as there are looks.
        classes: what the classes to draw are called, by their keys.
        name: what the names of the files begin with.
    """
    parts = -(-len(classes) // _CLASSES_A_FIGURE)
    size = max(1, -(-len(classes) // max(parts, 1)))
    starts = range(0, len(classes), size)
    every = [one.aurocs[own] for one in shown for own in classes if one.aurocs.get(own)]
    lowest = min((mean(own) - (spread(own) or 0.0) for own in every), default=0.0)
    return [
        _figure(
            shown, dict(list(classes.items())[start : start + size]), lowest, f"{name}-{number}"
        )
        for number, start in enumerate(starts, start=1)
    ]


def _figure(
    shown: Sequence[Plotted], classes: Mapping[str, str], lowest: float, name: str
) -> Drawn:
    names = [label(one.words) for one in shown]
    band = len(shown) * _ROW + _GAP
    figure, axes = panel(len(classes) * band + 0.75, legend_lines(names))
    for place, one in enumerate(shown):
        own = look(place)
        found = {number: one.aurocs.get(each, ()) for number, each in enumerate(classes)}
        at = [number for number, values in found.items() if values]
        axes.errorbar(
            [mean(found[number]) for number in at],
            [number * band + (place + 0.5) * _ROW for number in at],
            xerr=[spread(found[number]) or 0.0 for number in at],
            fmt=own.marker,
            color=own.colour,
            markersize=5,
            linewidth=1,
            label=names[place],
        )
    for number in range(1, len(classes)):
        axes.axhline(number * band - _GAP / 2, color="#888888", linewidth=0.5)
    axes.set_yticks([])
    for number, each in enumerate(classes.values()):
        # No tick's label: an axis writes those anew when it is drawn, after draw_names.
        axes.text(
            -0.02,
            number * band + len(shown) * _ROW / 2,
            label(each, 18),
            transform=axes.get_yaxis_transform(),
            horizontalalignment="right",
            verticalalignment="center",
        )
    axes.set_ylim(len(classes) * band - _GAP / 2, -_GAP / 2)
    axes.set_xlim(lowest - 0.05 * (1.02 - lowest), 1.0 + 0.03 * (1.02 - lowest))
    axes.set_xlabel("AUROC (whole test split)")
    put_legend(figure, axes, names)
    words = f"AUROC of {len(shown)} detectors on {len(classes)} normal classes"
    return Drawn(name, draw_names(figure), words)
