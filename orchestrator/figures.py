"""Pictures of a detector's scores. Figure objects only: safe in any thread, no display."""

from matplotlib.figure import Figure

from kd_models.metrics import auroc, roc_curve
from orchestrator.record import Scores


def roc_figure(scores: Scores, title: str) -> Figure:
    """Draw the ROC curve over the whole test split."""
    fpr, tpr, _ = roc_curve(scores.scores, scores.novel)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.plot(fpr, tpr, label=f"AUROC {auroc(scores.scores, scores.novel):.4f}")
    axes.set(
        title=title,
        xlabel="normal images flagged (FPR)",
        ylabel="novel images found (TPR)",
        aspect="equal",
    )
    axes.legend(loc="lower right")
    return figure


def score_figure(scores: Scores, threshold: float, title: str) -> Figure:
    """Draw histograms of normal and novel scores with the threshold."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    low, high = float(scores.scores.min()), float(scores.scores.max())
    for flag, label in ((False, "normal"), (True, "novel")):
        values = scores.scores[scores.novel == flag]
        axes.hist(
            values,
            bins=60,
            range=(low, high),
            alpha=0.6,
            density=True,
            label=f"{label} ({len(values)})",
        )
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set(title=title, xlabel="novelty score", ylabel="density")
    axes.legend()
    return figure
