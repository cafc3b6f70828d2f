"""Training curves over seeds: which stages are read for them, and their mean and spread."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from statistics import mean

from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.page.plotted import Plotted
from orchestrator.reporting.statistics import spread
from orchestrator.store.record import History

MOST_STAGES, MOST_PANELS, MOST_SEEDS = 200, 12, 10
"""histories that are read, tasks that are drawn, and seeds of a configuration"""
_MOST_POINTS = 80
"""of a curve"""


@dataclass(frozen=True)
class Line:
    """A configuration's training on one task.

    Attributes:
        words: what it is called.
        place: of its look.
        stages: its last training step with each seed.
    """

    words: str
    place: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Curve:
    """Mean AUROC of seeds by epoch.

    Attributes:
        epochs: those after which every seed was evaluated.
        means: over seeds.
        spreads: standard deviations over seeds; 0 of one seed.
        seeds: how many there are.
    """

    epochs: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    seeds: int


def trained_stage(plan: Plan, keys: Sequence[str]) -> Stage | None:
    """Return the last stage of a chain that trained for several epochs, if one did."""
    return next((plan.stages[key] for key in reversed(keys) if plan.stages[key].epochs > 1), None)


def lines_of(plan: Plan, shown: Sequence[Plotted], normal_class: str) -> list[Line]:
    """Return the trainings behind a dataset's detectors on a class, each once."""
    lines = []
    seen: set[str] = set()
    for place, one in enumerate(shown):
        found = (trained_stage(plan, keys) for keys in one.chains.get(normal_class, ()))
        stages = {stage.key: stage for stage in found if stage is not None}
        own = tuple(stage for key, stage in stages.items() if key not in seen)[:MOST_SEEDS]
        seen |= stages.keys()
        if own:
            lines.append(Line(_words(plan, one, own[0]), place, own))
    return lines


def _words(plan: Plan, one: Plotted, stage: Stage) -> str:
    """Return what a training is called: as the candidate that ends with it, if one does."""
    candidate = plan.candidate_of.get(stage.key)
    return one.words if candidate is None else plan.telling.words(candidate.configuration)


def chosen_tasks(
    lines: Mapping[tuple[str, str], Sequence[Line]],
) -> dict[tuple[str, str], Sequence[Line]]:
    """Return the tasks to draw: classes of each dataset in turn, as far as the limits allow."""
    by_dataset: dict[str, list[tuple[str, str]]] = {}
    for task, own in lines.items():
        if own:
            by_dataset.setdefault(task[0], []).append(task)
    chosen: dict[tuple[str, str], Sequence[Line]] = {}
    left = MOST_STAGES
    for task in in_turn(by_dataset.values()):
        wanted = sum(len(line.stages) for line in lines[task])
        if len(chosen) == MOST_PANELS or (chosen and wanted > left):
            break
        chosen[task] = lines[task]
        left -= wanted
    return {task: own for task, own in lines.items() if task in chosen}


def in_turn(groups: Iterable[Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return the first of each group, then the second of each, and so on."""
    return [task for task in chain.from_iterable(zip_longest(*groups)) if task is not None]


def mean_curve(histories: Sequence[History]) -> Curve | None:
    """Return the mean and spread of AUROCs over seeds; None where no epoch has one of each."""
    by_epoch = [
        {int(row["epoch"]): float(row["auroc"]) for row in history if "auroc" in row}
        for history in histories
    ]
    if not by_epoch:
        return None
    epochs = _thinned(sorted(set.intersection(*(set(own) for own in by_epoch))))
    if not epochs:
        return None
    values = [[own[epoch] for own in by_epoch] for epoch in epochs]
    return Curve(
        tuple(epochs),
        tuple(map(mean, values)),
        tuple(spread(own) or 0.0 for own in values),
        len(by_epoch),
    )


def _thinned(epochs: Sequence[int]) -> list[int]:
    """Return at most so many epochs as a picture can show, the last among them."""
    step = -(-len(epochs) // _MOST_POINTS)
    return list(reversed(epochs[::-1][::step])) if step else []
