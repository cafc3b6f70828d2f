"""Which student to take: by its configuration's mean over seeds, and by what it costs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any, Literal

from mlflow.entities import Run

from orchestrator.reporting import statistics

Cheapness = Literal["latency", "flops", "params", "bytes"]
COSTS: Mapping[Cheapness, str] = MappingProxyType(
    {"latency": "latency_us", "flops": "flops", "params": "params", "bytes": "size_bytes"}
)
"""metrics of all that must be deployed, by what a person calls them"""

Per = Literal["class", "dataset"]
"""what is chosen for: each normal class, or one configuration for all classes of a dataset"""


@dataclass(frozen=True)
class Limits:
    """What a chosen student may cost, and lose, at most; None is no limit.

    Attributes:
        params: of all that must be deployed, a teacher too.
        flops: as params.
        latency_us: as params; of one image on one CPU thread.
        size_bytes: as params; of the exported model.
        drop: AUROC below the teacher.
    """

    params: float | None = None
    flops: float | None = None
    latency_us: float | None = None
    size_bytes: float | None = None
    drop: float | None = None


@dataclass(frozen=True)
class Option:
    """A configuration that can be chosen.

    Attributes:
        name: the student, in the words that tell it from the sweep's others.
        kind: student or baseline.
        runs: of its seeds, on each normal class.
        mean: of what students are compared by, over classes and seeds.
        error: standard error of the mean over seeds; None of one seed.
        drop: AUROC below the teacher; None where there is no teacher.
    """

    name: str
    kind: str
    runs: tuple[Run, ...]
    mean: float
    error: float | None
    drop: float | None

    def cost(self, metric: str) -> float:
        """Return a cost on its most expensive class."""
        return max(float(run.data.metrics[metric]) for run in self.runs)

    @property
    def seeds(self) -> int:
        """Return the number of seeds."""
        return len({run.data.tags["seed"] for run in self.runs})

    def best_run(self, normal_class: str) -> Run:
        """Return the run on a class whose seed did best on what students are compared by.

        The configuration was chosen by its mean; of its networks somebody gets one.
        """
        own = [run for run in self.runs if run.data.tags["normal_class"] == normal_class]
        return max(own, key=choosing_metric)

    def is_within(self, limits: Limits) -> bool:
        """Return whether it costs and loses no more than the limits say."""
        for limit in fields(limits):
            most = getattr(limits, limit.name)
            if most is None:
                continue
            value = self.drop if limit.name == "drop" else self.cost(limit.name)
            if value is None or value > most:
                return False
        return True


@dataclass(frozen=True)
class Choice:
    """What was chosen for a task, or why there is nothing.

    Attributes:
        dataset: the dataset.
        normal_classes: the classes that it was chosen for.
        option: the configuration; None where none is within the limits.
        reason: why it, in a sentence; or why none.
        runner_up: what would have been chosen without it.
        front: the configurations of which no other is both better and cheaper, cheapest first.
        considered: how many configurations there were, whatever their cost.
        baselines: those that cost no more FLOPs and are as good or better.
    """

    dataset: str
    normal_classes: tuple[str, ...]
    option: Option | None
    reason: str
    runner_up: Option | None = None
    front: tuple[Option, ...] = ()
    considered: int = 0
    baselines: tuple[Option, ...] = ()


def choosing_metric(run: Run) -> float:
    """Return what students are compared by.

    Under ``holdout`` it is the AUROC of the validation half, so that the test half stays honest;
    under ``paper`` the AUROC of the whole test split, as in the papers.
    """
    return float(run.data.metrics[_compared_by(run)])


def _compared_by(run: Run) -> str:
    return "auroc" if run.data.tags["complete"] == "paper" else "val_auroc"


def choose(
    runs: Iterable[Run],
    limits: Limits = Limits(),  # frozen
    *,
    cheapest_by: Cheapness = "latency",
    per: Per = "class",
    with_baselines: bool = False,
) -> list[Choice]:
    """Choose for every task the cheapest configuration that is as good as the best, or nearly.

    Nearly is within one standard error of the best one's mean over seeds (Breiman et al. 1984).
    Teachers, which students are compared with, are not chosen.

    Args:
        runs: of finished candidates.
        limits: what the chosen one may cost and lose.
        cheapest_by: the cost that counts.
        per: what is chosen for. For a whole dataset only configurations are considered that have
            finished with a seed on every class.
        with_baselines: whether a baseline may be chosen. If not, those that make the chosen
            student pointless are named in the choice.
    """
    tasks: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        tags = run.data.tags
        task = (tags["dataset"], tags["normal_class"]) if per == "class" else (tags["dataset"],)
        tasks.setdefault(task, []).append(run)
    return [
        _chosen(task[0], own, limits, COSTS[cheapest_by], cheapest_by, with_baselines)
        for task, own in sorted(tasks.items())
        if any(run.data.tags["kind"] in ("student", "baseline") for run in own)
    ]


def _chosen(
    dataset: str,
    runs: Sequence[Run],
    limits: Limits,
    metric: str,
    cheapest_by: str,
    with_baselines: bool,
) -> Choice:
    classes = tuple(sorted({run.data.tags["normal_class"] for run in runs}))
    options = _options(runs, classes)
    kinds = ("student", "baseline") if with_baselines else ("student",)
    considered = [option for option in options if option.kind in kinds]
    within = [option for option in considered if option.is_within(limits)]
    if not within:
        reason = f"none of {len(considered)} configurations is within the limits"
        return Choice(dataset, classes, None, reason, considered=len(considered))
    found, reason = _cheapest(within, metric, cheapest_by)
    others = [option for option in within if option is not found]
    return Choice(
        dataset,
        classes,
        found,
        reason,
        runner_up=_cheapest(others, metric, cheapest_by)[0] if others else None,
        front=tuple(pareto_front(within, metric)),
        considered=len(considered),
        baselines=tuple(
            option
            for option in options
            if option.kind == "baseline"
            and found.kind == "student"
            and option.is_within(limits)
            and option.cost("flops") <= found.cost("flops")
            and option.mean >= found.mean
        ),
    )


def as_row(choice: Choice, run: Run) -> dict[str, Any]:
    """Return a choice and the network that somebody gets, as JSON.

    Args:
        choice: with an option.
        run: of one of its seeds, on one of its classes.
    """
    option, metrics, tags = choice.option, run.data.metrics, run.data.tags
    assert option is not None
    return {
        "dataset": choice.dataset,
        "normal_class": tags["normal_class"],
        "student": option.name,
        "seed": int(tags["seed"]),
        "stage_key": tags["stage_key"],
        "reason": choice.reason,
        "runner_up": choice.runner_up.name if choice.runner_up else None,
        "chosen_by": option.mean,
        "standard_error": option.error,
        "chosen_seeds": option.seeds,
        "drop": option.drop,
        "considered": choice.considered,
        "pareto_front": [_summary(one) for one in choice.front],
        "baselines_as_good": [_summary(one) for one in choice.baselines],
        **{name: metrics[name] for name in ("auroc", "test_auroc", "threshold")},
        **_costs(option),
    }


def _summary(option: Option) -> dict[str, Any]:
    return {"student": option.name, "mean": option.mean, **_costs(option)}


def _costs(option: Option) -> dict[str, float]:
    costs = {metric: option.cost(metric) for metric in COSTS.values()}
    return {name: value if name == "latency_us" else int(value) for name, value in costs.items()}


def _options(runs: Sequence[Run], classes: Sequence[str]) -> list[Option]:
    """Return every configuration that has finished with a seed on all of the classes."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.data.tags["method"], run.data.tags["student"]), []).append(run)
    of_any = _teacher(runs)
    options = []
    for own in grouped.values():
        by_seed: dict[str, dict[str, Run]] = {}
        for run in own:
            by_seed.setdefault(run.data.tags["seed"], {})[run.data.tags["normal_class"]] = run
        whole = [seed for seed in by_seed.values() if len(seed) == len(classes)]
        if not whole:
            continue
        means = [fmean(map(choosing_metric, seed.values())) for seed in whole]
        error = stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None
        mean = fmean(means)
        # Its own teachers are judged by its own score; who has none is held against the others'.
        own_teacher = _teacher(own)
        teacher = of_any if own_teacher is None else own_teacher
        drop = None if teacher is None else teacher - mean
        kept = tuple(run for seed in whole for run in seed.values())
        tags = own[0].data.tags
        options.append(Option(tags["configuration"], tags["kind"], kept, mean, error, drop))
    return options


def _teacher(runs: Sequence[Run]) -> float | None:
    """Return what students are compared by, of their teachers: the mean over classes."""
    by_class: dict[str, list[float]] = {}
    for run in runs:
        known = run.data.metrics.get(f"teacher_{_compared_by(run)}")
        if known is not None:
            by_class.setdefault(run.data.tags["normal_class"], []).append(float(known))
    classes = {run.data.tags["normal_class"] for run in runs}
    return fmean(map(fmean, by_class.values())) if len(by_class) == len(classes) else None


def _cheapest(options: Sequence[Option], metric: str, cheapest_by: str) -> tuple[Option, str]:
    """Return the cheapest within one standard error of the best, and why it was chosen."""

    def merit(option: Option) -> tuple[float, float, float]:
        return (option.mean, -option.cost(metric), -option.cost("flops"))

    best = max(options, key=merit)
    margin = best.error or 0.0
    near = [option for option in options if option.mean >= best.mean - margin]
    found = min(near, key=lambda option: (option.cost(metric), -option.mean, option.cost("flops")))
    if best.error is None and best.kind == "student":
        spread = "one seed each, so how far it may differ is not known"
    elif best.error is None:
        spread = "which is the same for every seed"
    else:
        spread = f"standard error {best.error:.4f} over {best.seeds} seeds"
    if found is best:
        reason = f"the best at {best.mean:.4f} ({spread})"
        if len(options) > 1:
            reason += f"; none of the others that are as good is cheaper by {cheapest_by}"
        return found, reason
    return found, (
        f"the cheapest by {cheapest_by} of {len(near)} within one standard error of the best, "
        f"{best.name} at {best.mean:.4f} ({spread}); its own mean is {found.mean:.4f}"
    )


def pareto_front(options: Sequence[Option], metric: str) -> list[Option]:
    """Return the options of which no other is at least as good and as cheap, and better in one.

    Of options that are alike in both, the first. Cheapest first.
    """
    points = [(option.cost(metric), option.mean) for option in options]
    return [options[place] for place in statistics.pareto_front(points)]
