"""Pictures of what a detector does. Figure objects only: safe in any thread, no display."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kd_models.evaluation.localisation import Shown
from kd_models.evaluation.metrics import auroc, roc_curve
from kd_score.names import shortened, together
from orchestrator.reporting.comparison import Compared
from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.results import StageResult
from orchestrator.store.record import ScoredSplit

_LONGEST_LABEL, _LETTERS_AN_INCH, _LETTERS_OF_A_TITLE = 120, 12, 9
_MOST_TASKS = 6
"""Datasets and normal classes that are drawn one by one."""


def stage_figures(result: StageResult, title: str) -> dict[str, Figure]:
    """Return all figures of a stage by the name of the picture's file."""
    threshold = result.evaluation.threshold
    figures = {
        "roc.png": roc_figure(result.scores, title),
        "scores.png": score_figure(result.scores, threshold, title),
    }
    if result.shown:
        figures["heatmaps.png"] = heat_map_figure(result.shown, threshold, title)
        if all(one.layers for one in result.shown):
            figures["layers.png"] = layer_figure(result.shown, title)
    return figures


def roc_figure(scores: ScoredSplit, title: str) -> Figure:
    """Draw the ROC curve over the whole test split."""
    fpr, tpr, _ = roc_curve(scores.scores, scores.novel)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.plot(fpr, tpr, label=f"AUROC {auroc(scores.scores, scores.novel):.4f}")
    axes.set(
        title=_folded(title, 5),
        xlabel="normal images flagged (FPR)",
        ylabel="novel images found (TPR)",
        aspect="equal",
    )
    axes.legend(loc="lower right")
    return draw_names(figure)


def score_figure(scores: ScoredSplit, threshold: float, title: str) -> Figure:
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
            histtype="stepfilled",  # one shape: sixty bars take three times as long to draw
            label=f"{label} ({len(values)})",
        )
    axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    axes.set(title=_folded(title, 7), xlabel="novelty score", ylabel="density")
    axes.legend()
    return draw_names(figure)


def heat_map_figure(shown: Sequence[Shown], threshold: float, title: str) -> Figure:
    """Draw for each image: itself, its heat map laid over it, and its mask where there is one."""
    masks = any(one.mask is not None for one in shown)
    columns = 3 if masks else 2
    figure = Figure(figsize=(2.4 * columns, 2.6 * len(shown) + 0.4), layout="constrained")
    figure.suptitle(_folded(title, 2.4 * columns))
    ends = heat_scales([one.heat for one in shown], [one.score < threshold for one in shown])
    rows = figure.subplots(len(shown), columns, squeeze=False)
    for one, end, row in zip(shown, ends, rows, strict=True):
        image = displayed(one.image)
        verdict = "novel" if one.score >= threshold else "normal"
        _picture(row[0], image, f"{one.caption}\nscore {one.score:.4g}, called {verdict}")
        _picture(row[1], overlay(one.image, one.heat, end), "heat map")
        if masks:
            if one.mask is None:
                row[2].set_axis_off()
            else:
                _picture(row[2], one.mask, "mask", cmap="gray", vmin=0, vmax=1)
    return draw_names(figure)


def layer_figure(shown: Sequence[Shown], title: str) -> Figure:
    """Draw the maps of student and teacher, layer by layer, and where they differ.

    The images are the highest-scoring novel one and a typical normal one (as Zhou and Xing 2023,
    Fig. 9). Both share a layer's scales: darker is more.
    """
    novel = next(one for one in shown if one.novel)
    normal = [one for one in shown if not one.novel][:2][-1]
    rows = [(layer, one) for layer in novel.layers for one in (normal, novel)]
    figure = Figure(figsize=(8, 2 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(_folded(title, 8))
    for (layer, one), row in zip(rows, figure.subplots(len(rows), 4, squeeze=False), strict=True):
        both = np.stack([normal.layers[layer], novel.layers[layer]])
        maps = (float(both[:, :2].min()), float(both[:, :2].max()))
        difference = (0.0, float(both[:, 2].max()))
        _picture(row[0], displayed(one.image), f"pool {layer}: {one.caption.partition(':')[0]}")
        for axes, values, name, (low, high) in zip(
            row[1:],
            one.layers[layer],
            ("student", "teacher", "difference"),
            (maps, maps, difference),
            strict=True,
        ):
            _picture(axes, values, name, cmap="Blues", vmin=low, vmax=high)
    return draw_names(figure)


def overlay(
    image: NDArray[np.float32], heat: NDArray[np.float32], end: float
) -> NDArray[np.float32]:
    """Lay a heat map (S, S) over its image (C, S, S): colours (S, S, 3) from 0 to 1.

    The hotter a pixel is, the less of the image is left; the scale ends at ``end``.
    """
    strength = (heat / end).clip(0, 1)[..., None]
    colours = colormaps["inferno"](strength[..., 0])[..., :3]
    shade: NDArray[np.float32] = displayed(image).mean(-1, keepdims=True)
    visible = 0.85 * strength**0.5
    mixed: NDArray[np.float32] = (1 - visible) * shade + visible * colours
    return mixed


def comparison_figure(compared: Sequence[Compared]) -> Figure:
    """Draw AUROC and inference time of every configuration (Zhou and Xing 2023, Fig. 5 and 6).

    There is one bar for each dataset and normal class, or where these are many for each dataset,
    and a dot for every seed if there are several.
    """
    tasks = list(dict.fromkeys((one.dataset, own) for one in compared for own in one.classes))
    whole_datasets = len(tasks) > _MOST_TASKS
    bars = dict.fromkeys(task[:1] if whole_datasets else task for task in tasks)
    kinds = list(dict.fromkeys(one.words for one in compared))
    names = {of: shortened(together(*of), _LONGEST_LABEL) for of in bars}
    longest = max(map(len, names.values()))
    width = max(6.0, 0.5 * len(kinds) * len(bars) + 2, longest / _LETTERS_AN_INCH + 1)
    figure = Figure(figsize=(width, 7), layout="constrained")
    quality, time = figure.subplots(2, 1, sharex=True)
    bar = 0.8 / len(bars)
    lowest = 1.0
    for index, of in enumerate(bars):
        for one in compared:
            found = _mean_and_seeds(one, of)
            if not found:
                continue
            x = kinds.index(one.words) + (index - (len(bars) - 1) / 2) * bar
            colour, value = f"C{index}", found[0]
            lowest = min(lowest, *found)
            quality.bar(x, value, bar * 0.9, color=colour, label=names[of])
            quality.annotate(f"{value:.3f}", (x, value), ha="center", va="bottom", size=7)
            if len(found) > 2:
                quality.plot([x] * (len(found) - 1), found[1:], "k.", markersize=3)
            time.bar(x, one.cost.deployed.latency_us / 1000, bar * 0.9, color=colour, alpha=0.35)
            time.bar(x, one.cost.student.latency_us / 1000, bar * 0.9, color=colour)
    quality.set(ylabel="AUROC", ylim=(max(0.0, lowest - 0.05), 1.02))
    time.set(ylabel="ms for an image (one CPU thread)\ndark: student, light: deployed")
    time.set_xticks(range(len(kinds)), kinds, rotation=20, ha="right")
    handles, labels = quality.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    fitting = int(width / (longest / _LETTERS_AN_INCH + 0.8))
    figure.legend(
        once.values(), once.keys(), loc="outside upper center", ncols=min(4, max(1, fitting))
    )
    return draw_names(figure)


def _mean_and_seeds(one: Compared, of: tuple[str, ...]) -> list[float]:
    """Return the mean AUROC on a task or a dataset, and after it that of each seed."""
    dataset, *normal_class = of
    if one.dataset != dataset:
        return []
    if normal_class:
        found = one.of_class(normal_class[0], "auroc")
        return [float(np.mean(found)), *found] if found else []
    mean = one.mean("auroc")
    return [] if mean is None else [mean, *one.by_seed("auroc")]


def heat_scales(heats: Sequence[NDArray[np.float32]], normal: Sequence[bool]) -> list[float]:
    """Return where the colours of each heat map end.

    They end at the map's own maximum, so that faint defects show beside glaring ones; but no lower
    than twice the hottest of the images called normal, so that these stay cold.
    """
    hottest = [float(heat.max()) for heat in heats]
    least = 2 * max((heat for heat, cold in zip(hottest, normal, strict=True) if cold), default=0)
    return [max(heat, least) or 1.0 for heat in hottest]


def displayed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn an image (C, S, S) in [-1, 1] into one that matplotlib draws, (S, S, 3)."""
    colours = np.broadcast_to(image, (3, *image.shape[1:]))
    return ((colours + 1) / 2).clip(0, 1).transpose(1, 2, 0)


def _folded(title: str, inches: float) -> str:
    """Return a title in lines that fit the width of a figure."""
    most = int(inches * _LETTERS_OF_A_TITLE)
    return "\n".join(title[start : start + most] for start in range(0, len(title), most))


def _picture(axes: Axes, values: NDArray, title: str, **options: Any) -> None:
    axes.imshow(values, **options)
    lines = (_folded(line, 4.2) for line in title.split("\n"))  # 2.4 inches of small letters
    axes.set_title("\n".join(lines), fontsize=7)
    axes.set_axis_off()
