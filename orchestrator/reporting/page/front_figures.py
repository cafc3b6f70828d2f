"""What quality costs: each configuration's AUROC against FLOPs, parameters, latency and size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from kd_models.evaluation.cost import NetworkCost
from orchestrator.planning.configuration import Kind
from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.page.look import Drawn, log_scale, panel, put_legend
from orchestrator.reporting.page.plotted import Plotted
from orchestrator.reporting.statistics import pareto_front

_MARKER: Mapping[Kind, tuple[str, str]] = MappingProxyType(
    {"student": ("o", "#0072B2"), "baseline": ("s", "#D55E00"), "teacher": ("^", "#009E73")}
)

COSTS: Mapping[str, tuple[str, Callable[[NetworkCost], float]]] = MappingProxyType(
    {
        "flops": ("FLOPs for an image", lambda cost: cost.flops),
        "params": ("parameters", lambda cost: cost.params),
        "latency": ("microseconds for an image, one CPU thread", lambda cost: cost.latency_us),
        "size": ("bytes of the exported model", lambda cost: cost.size_bytes),
    }
)
"""by the name of the figure: the axis' label, and the cost of all that must be deployed"""

_DEEPEST = 4
"""times as far below the best as the middle one, at most, an axis goes"""
_MOST_WITH_SPREAD = 25
"""points; of more of them, only those on the front have bars, which would hide the others"""


@dataclass(frozen=True)
class Front:
    """What quality costs on a dataset.

    Attributes:
        dataset: the dataset.
        numbered: detectors that are on a front for some cost, in the order of their numbers.
        panels: a figure for each cost.
    """

    dataset: str
    numbered: tuple[Plotted, ...]
    panels: tuple[Drawn, ...]


def front_of(of: Sequence[Plotted], metric_words: str, name: str) -> Front | None:
    """Draw a dataset's detectors by what they cost; None where there is none to draw.

    Args:
        of: the detectors.
        metric_words: what their merit is.
        name: what the names of the files begin with.
    """
    shown = [one for one in of if one.merit is not None]
    if not shown:
        return None
    fronts = {cost: _front(shown, value) for cost, (_, value) in COSTS.items()}
    on_any = {place for front in fronts.values() for place in front}
    ordered = sorted(on_any, key=lambda place: (shown[place].cost.deployed.flops, place))
    numbers = {place: number for number, place in enumerate(ordered, start=1)}
    panels = tuple(_panel(shown, cost, fronts[cost], numbers, metric_words, name) for cost in COSTS)
    return Front(shown[0].dataset, tuple(shown[place] for place in ordered), panels)


def foot_of(merits: Sequence[float]) -> float:
    """Return the lowest merit that an axis shows in its place.

    One configuration that learned nothing would squeeze all others together, so the axis goes down
    from the best to four times as far as the middle one lies.
    """
    best = max(merits)
    return max(min(merits), best - _DEEPEST * (best - median(merits)))


def _front(shown: Sequence[Plotted], value: Callable[[NetworkCost], float]) -> list[int]:
    return pareto_front([(value(one.cost.deployed), one.merit or 0.0) for one in shown])


def _panel(
    shown: Sequence[Plotted],
    cost: str,
    front: Sequence[int],
    numbers: Mapping[int, int],
    metric_words: str,
    name: str,
) -> Drawn:
    axis, value = COSTS[cost]
    kinds = [kind for kind in _MARKER if any(one.kind == kind for one in shown)]
    figure, axes = panel(3.1, legend_lines=1)
    merits = [one.merit or 0.0 for one in shown]
    foot = foot_of(merits)
    below = [place for place, merit in enumerate(merits) if merit < foot]
    points = [
        (value(one.cost.deployed), max(merit, foot))
        for one, merit in zip(shown, merits, strict=True)
    ]
    axes.step(
        [points[place][0] for place in front],
        [points[place][1] for place in front],
        where="post",
        color="#000000",
        linestyle="--",
        linewidth=1,
        label="_front",
    )
    for kind in kinds:
        marker, colour = _MARKER[kind]
        for is_on_front in (False, True):
            own = [
                place
                for place, one in enumerate(shown)
                if one.kind == kind and (place in front) == is_on_front
            ]
            axes.plot(
                [points[place][0] for place in own],
                [points[place][1] for place in own],
                marker,
                color=colour,
                markerfacecolor=colour if is_on_front else "none",
                markersize=7,
                label=kind if is_on_front else f"_{kind}",
            )
    for place in front if len(shown) > _MOST_WITH_SPREAD else range(len(shown)):
        if place not in below and (around := shown[place].spread) is not None:
            x, y = points[place]
            axes.errorbar([x], [y], [around], color=_MARKER[shown[place].kind][1], linewidth=1)
    log_scale(axes, [x for x, _ in points])
    for place in front:
        x, y = points[place]
        axes.annotate(str(numbers[place]), (x, y), (4, 5), textcoords="offset points", size=10)
    for place in below:
        axes.annotate("\u2193", points[place], (5, -5), textcoords="offset points", size=10)
    axes.margins(y=0.12)
    axes.set(xlabel=axis, ylabel=f"AUROC ({metric_words})")
    put_legend(figure, axes, kinds)
    words = f"{len(shown)} configurations by AUROC and {axis}; {len(front)} are on the Pareto front"
    if below:
        words += f"; {len(below)} that are far worse are drawn at the foot, with an arrow"
    return Drawn(f"{name}-{cost}", draw_names(figure), words)
