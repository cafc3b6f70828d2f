"""Training curves of a task's students: AUROC by epoch, mean and spread over seeds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.page.curves import Curve, Line
from orchestrator.reporting.page.look import Drawn, label, legend_lines, look, panel, put_legend

_FEW_POINTS = 12
"""markers on a curve"""


def curve_figure(curves: Sequence[tuple[Line, Curve]], title: str, name: str) -> Drawn:
    """Draw the mean AUROC by epoch, and its spread over seeds as a band.

    Args:
        curves: those of a task.
        title: the task.
        name: of the file.
    """
    names = [label(line.words) for line, _ in curves]
    figure, axes = panel(2.9, legend_lines(names))
    for (line, curve), own_name in zip(curves, names, strict=True):
        own = look(line.place)
        epochs, means = np.array(curve.epochs), np.array(curve.means)
        spreads = np.array(curve.spreads)
        step = -(-len(epochs) // _FEW_POINTS)
        axes.plot(
            epochs,
            means,
            color=own.colour,
            linestyle=own.dashes,
            marker=own.marker,
            markersize=4.5,
            markevery=(line.place % step, step),  # those of different curves lie apart
            label=own_name,
        )
        if spreads.any():
            low, high = (means - spreads).clip(0, 1), (means + spreads).clip(0, 1)
            axes.fill_between(epochs, low, high, color=own.colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="epoch of the last training step", ylabel="AUROC (whole test split)")
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    put_legend(figure, axes, names)
    ends = ", ".join(f"{line.words} ends at {curve.means[-1]:.4f}" for line, curve in curves)
    return Drawn(name, draw_names(figure), f"AUROC by epoch on {title}: {ends}")
