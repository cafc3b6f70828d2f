"""ROC curve and scores of one student, as small as the page shows them."""

import numpy as np

from kd_models.evaluation.metrics import roc_curve
from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.page.look import COLOURS, Drawn, panel, put_legend
from orchestrator.store.record import ScoredSplit

_MOST_POINTS = 150
"""of a ROC curve"""
_BINS = 40


def roc_panel(scores: ScoredSplit, auroc: float, title: str, name: str) -> Drawn:
    """Draw the ROC curve over the whole test split."""
    fpr, tpr, _ = roc_curve(scores.scores, scores.novel)
    if len(fpr) > _MOST_POINTS:
        # At equal steps of the way along it, which misses neither its steep nor its flat part.
        way = fpr + tpr
        at = np.unique(np.searchsorted(way, np.linspace(0, 2, _MOST_POINTS)).clip(0, len(way) - 1))
        fpr, tpr = fpr[at], tpr[at]
    figure, axes = panel(3.1)
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle=":")
    axes.plot(fpr, tpr, color=COLOURS[0])
    axes.set(
        xlabel="normal images flagged (FPR)",
        ylabel="novel images found (TPR)",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    axes.set_title(title, loc="left")
    return Drawn(name, draw_names(figure), f"ROC curve on {title}, AUROC {auroc:.4f}")


def score_panel(scores: ScoredSplit, threshold: float, title: str, name: str) -> Drawn:
    """Draw histograms of normal and novel scores with the threshold."""
    figure, axes = panel(2.9, legend_lines=1)
    low, high = float(scores.scores.min()), float(scores.scores.max())
    for flag, name_of in ((False, "normal"), (True, "novel")):
        axes.hist(
            scores.scores[scores.novel == flag],
            bins=_BINS,
            range=(low, high if high > low else low + 1),
            density=True,
            histtype="stepfilled",
            facecolor="none" if flag else COLOURS[0],
            edgecolor=COLOURS[1] if flag else COLOURS[0],
            alpha=1.0 if flag else 0.6,
            hatch="////" if flag else None,
            linewidth=1.2,
            label=name_of,
        )
    axes.axvline(threshold, color="#000000", linestyle="--", linewidth=1.2, label="threshold")
    axes.set(xlabel="novelty score", ylabel="density")
    axes.set_title(title, loc="left")
    put_legend(figure, axes, ["normal", "novel", "threshold"])
    return Drawn(
        name, draw_names(figure), f"scores of normal and novel images of {title}, and the threshold"
    )
