"""Comparison of configurations: means over normal classes and seeds, and what tells them apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.metrics import Evaluation
from kd_models.evaluation.protocol import EvaluationProtocol
from orchestrator.planning.configuration import Configuration
from orchestrator.planning.stage import telling
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.statistics import SIGNIFICANT, can_tell, holm, paired_p, spread

Judged = Literal["auroc", "test_auroc"]

FEW_CLASSES = 6
"""normal classes of which fewer have each of their seeds compared"""


@dataclass(frozen=True)
class Compared:
    """A configuration on one dataset.

    Attributes:
        dataset: the dataset.
        configuration: the configuration.
        words: what tells it from the others.
        results: its finished results by normal class and seed.
    """

    dataset: str
    configuration: Configuration
    words: str
    results: Mapping[tuple[str, int], CandidateResult]

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the normal classes, in the order of the plan."""
        return tuple(dict.fromkeys(normal_class for normal_class, _ in self.results))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds that finished on every class."""
        return tuple(
            seed
            for seed in dict.fromkeys(seed for _, seed in self.results)
            if all((normal_class, seed) in self.results for normal_class in self.classes)
        )

    @property
    def cost(self) -> Cost:
        """Return the cost on its most expensive class: a memory of images may differ in size."""
        costs = [result.cost for result in self.results.values() if result.cost]
        return max(costs, key=lambda cost: cost.deployed.flops)

    def of_class(self, normal_class: str, metric: str) -> list[float]:
        """Return a metric on one class, of every seed."""
        found = (result for (own, _), result in self.results.items() if own == normal_class)
        return [value for result in found if (value := value_of(result, metric)) is not None]

    def mean(self, metric: str) -> float | None:
        """Return the mean over classes of the mean over seeds; None where a class has none."""
        by_class = [self.of_class(normal_class, metric) for normal_class in self.classes]
        return mean(map(mean, by_class)) if all(by_class) else None

    def by_seed(self, metric: str) -> list[float]:
        """Return the mean over classes of each seed that finished on every class."""
        means = []
        for seed in self.seeds:
            of_seed = [value_of(self.results[own, seed], metric) for own in self.classes]
            known = [value for value in of_seed if value is not None]
            if len(known) == len(of_seed):
                means.append(mean(known))
        return means

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of :meth:`by_seed`; None of fewer than two seeds."""
        return spread(self.by_seed(metric))

    def above(self, other: "Compared", metric: str) -> list[float]:
        """Return by how much it is above another one, in differences that are independent.

        Each is of a normal class, the mean over the seeds that both have. Where classes are few
        (:data:`FEW_CLASSES`), each is of a class and seed, unless students of several seeds have
        one teacher. A baseline is the same for every seed.
        """
        by_class: dict[str, list[float]] = {}
        for (normal_class, _), difference in self._differences(other, metric):
            by_class.setdefault(normal_class, []).append(difference)
        if len(by_class) >= FEW_CLASSES or self._has_one_teacher or other._has_one_teacher:
            return [mean(own) for own in by_class.values()]
        return [difference for own in by_class.values() for difference in own]

    def spread_above(self, other: "Compared", metric: str) -> float | None:
        """Return the standard deviation over seeds of the mean difference to another one."""
        by_seed: dict[int, list[float]] = {}
        for (_, seed), difference in self._differences(other, metric):
            by_seed.setdefault(seed, []).append(difference)
        most = max(map(len, by_seed.values()), default=0)
        return spread([mean(own) for own in by_seed.values() if len(own) == most])

    @property
    def _has_one_teacher(self) -> bool:
        """Return whether students of several seeds learned from one teacher."""
        for normal_class in self.classes:
            own = [
                result.candidate for (of, _), result in self.results.items() if of == normal_class
            ]
            firsts = {candidate.stages[0] for candidate in own}
            if len(firsts) < len({candidate.seed for candidate in own}):
                return True
        return False

    def _differences(
        self, other: "Compared", metric: str
    ) -> Iterator[tuple[tuple[str, int], float]]:
        """Yield class, seed and difference, for each class and seed that both have."""
        for (normal_class, seed), result in self.results.items():
            own = value_of(result, metric)
            if other.configuration.kind == "baseline":
                theirs = next(iter(other.of_class(normal_class, metric)), None)
            else:
                found = other.results.get((normal_class, seed))
                theirs = None if found is None else value_of(found, metric)
            if own is not None and theirs is not None:
                yield (normal_class, seed), own - theirs


@dataclass(frozen=True)
class Beside:
    """How a configuration stands beside another one.

    Attributes:
        above: mean difference, where both have a class and seed in common.
        spread: standard deviation over seeds of the difference; None of fewer than two.
        p: of the difference, corrected for the number of students; None where there are too few
            differences to tell.
    """

    above: float
    spread: float | None
    p: float | None

    @property
    def verdict(self) -> str:
        """Return it in words."""
        around = "" if self.spread is None else f" +- {self.spread:.4f}"
        if self.p is None:
            told = "too few to tell"
        else:
            told = f"p {self.p:.3f}" if self.p < SIGNIFICANT else "not told apart"
        return f"{self.above:+.4f}{around}, {told}"


@dataclass(frozen=True)
class Standing:
    """How a configuration stands among the others on a dataset.

    Attributes:
        compared: the configuration.
        judged_by: the metric that is compared.
        is_best: whether it is the best student, of those with the most classes.
        below_best: mean difference to the best student, where both have a class and seed in
            common.
        p: of that difference, corrected for the number of students; None where there are too few
            differences to tell.
        kept_up_with: baselines that cost no more and that it is not shown to beat, in words.
        alone: how it stands beside the same student trained alone: what distillation adds.
    """

    compared: Compared
    judged_by: Judged
    is_best: bool
    below_best: float | None
    p: float | None
    kept_up_with: tuple[str, ...]
    alone: "Beside | None" = None

    @property
    def told_apart(self) -> bool:
        """Return whether the difference to the best student is more than chance."""
        return self.p is not None and self.p < SIGNIFICANT

    @property
    def verdict(self) -> str:
        """Return in words how it stands beside the best student; empty if it is none itself."""
        if self.compared.configuration.kind != "student":
            return ""
        if self.is_best:
            return "best"
        if self.below_best is None:
            return "nothing in common"
        below = f"{-self.below_best:+.4f}"
        if self.p is None:
            return f"{below}, too few to tell"
        return f"{below}, p {self.p:.3f}" if self.told_apart else f"{below}, not told apart"

    def as_row(self) -> dict[str, Any]:
        """Return everything as one flat JSON object."""
        one = self.compared
        names = [name for name in Evaluation.__annotations__ if name != "threshold"]
        return {
            "dataset": one.dataset,
            "configuration": one.words,
            "method": one.configuration.method,
            "label": one.configuration.label,
            "kind": one.configuration.kind,
            "axes": dict(one.configuration.axes),
            "classes": len(one.classes),
            "seeds": len(one.seeds),
            **{name: one.mean(name) for name in (*names, "difference_to_teacher")},
            **{f"{name}_spread": one.spread(name) for name in ("auroc", "val_auroc", "test_auroc")},
            "is_best": self.is_best,
            "below_best": self.below_best,
            "p": self.p,
            "told_apart": self.told_apart,
            "verdict": self.verdict,
            "cheaper_baselines_as_good": list(self.kept_up_with),
            "difference_to_teacher_spread": one.spread("difference_to_teacher"),
            "above_alone": self.alone.above if self.alone else None,
            "above_alone_spread": self.alone.spread if self.alone else None,
            "above_alone_p": self.alone.p if self.alone else None,
            **one.cost.as_metrics(),
        }


def value_of(result: CandidateResult, metric: str) -> float | None:
    """Return a metric of a finished result, if it has it."""
    if metric == "difference_to_teacher":
        return result.difference
    if metric in result.localisation:
        return result.localisation[metric]
    value: float | None = getattr(result.evaluation, metric, None)
    return value


def judged_by(protocol: EvaluationProtocol) -> Judged:
    """Return the metric that a protocol reports."""
    return "auroc" if protocol == "paper" else "test_auroc"


def compare(results: Sequence[CandidateResult]) -> list[Compared]:
    """Group the finished results by dataset and configuration, in the order of the plan.

    Configurations whose axes differ between datasets alone are one.
    """
    tell = telling(result.candidate for result in results)
    found: dict[tuple[str, str], dict[tuple[str, int], CandidateResult]] = {}
    for result in results:
        if result.status != "finished":
            continue
        candidate = result.candidate
        words = tell.words(candidate.configuration)
        group = found.setdefault((candidate.dataset, words), {})
        group[candidate.normal_class, candidate.seed] = result
    return [
        Compared(dataset, next(iter(group.values())).candidate.configuration, words, group)
        for (dataset, words), group in found.items()
    ]


_OVER_SEEDS = ("auroc", "val_auroc", "test_auroc")
ABOVE_ALONE = "above_alone"
OVER_SEEDS = (
    *("seeds", ABOVE_ALONE),
    *(f"{of}_{what}" for of in _OVER_SEEDS for what in ("mean", "spread")),
)
"""what is said of a configuration on one task"""


def over_seeds(
    results: Sequence[CandidateResult],
) -> Iterator[tuple[CandidateResult, dict[str, float]]]:
    """Yield each finished result with the mean and spread of its configuration on its task.

    Of one seed there is no spread. ``above_alone`` is the difference of the mean AUROC to that of
    the same student trained without a teacher, where there is one.
    """
    groups: dict[tuple[str, str, str], list[CandidateResult]] = {}
    for result in results:
        if result.status == "finished":
            candidate = result.candidate
            group = (*candidate.task, candidate.configuration.key)
            groups.setdefault(group, []).append(result)
    for (*task, _), own in groups.items():
        found: dict[str, float] = {"seeds": float(len(own))}
        key_alone = own[0].candidate.configuration.key_alone
        if key_alone is not None and (alone := groups.get((task[0], task[1], key_alone))):
            taught, untaught = (
                mean(value for each in of if (value := value_of(each, "auroc")) is not None)
                for of in (own, alone)
            )
            found[ABOVE_ALONE] = taught - untaught
        for metric in _OVER_SEEDS:
            values = [value for each in own if (value := value_of(each, metric)) is not None]
            found[f"{metric}_mean"] = mean(values)
            if (around := spread(values)) is not None:
                found[f"{metric}_spread"] = around
        for result in own:
            yield result, found


def standings(compared: Sequence[Compared], protocol: EvaluationProtocol) -> list[Standing]:
    """Return how each configuration stands on its dataset.

    Args:
        compared: the configurations.
        protocol: says which AUROC they are compared by.
    """
    datasets: dict[str, list[Compared]] = {}
    for one in compared:
        datasets.setdefault(one.dataset, []).append(one)
    metric = judged_by(protocol)
    return [standing for own in datasets.values() for standing in _on_a_dataset(own, metric)]


def _on_a_dataset(compared: Sequence[Compared], metric: Judged) -> list[Standing]:
    students = [one for one in compared if one.configuration.kind == "student"]
    baselines = [one for one in compared if one.configuration.kind == "baseline"]
    most = max((len(one.classes) for one in students), default=0)
    # A mean over some classes alone may be high because the others are hard.
    whole = [one for one in students if len(one.classes) == most]
    best = max(whole, key=lambda one: one.mean(metric) or 0.0, default=None)
    others = [one for one in students if one is not best]
    below = {id(one): best.above(one, metric) for one in others} if best else {}
    telling = [place for place, own in below.items() if can_tell(len(own), len(others))]
    p_of = dict(zip(telling, holm([paired_p(below[place]) for place in telling]), strict=True))
    beside = _beside_alone(students, metric)
    return [
        Standing(
            one,
            metric,
            alone=beside.get(id(one)),
            is_best=one is best,
            below_best=mean(own) if (own := below.get(id(one))) else None,
            p=p_of.get(id(one)),
            kept_up_with=(
                _kept_up_with(one, baselines, metric) if one.configuration.kind == "student" else ()
            ),
        )
        for one in compared
    ]


def _beside_alone(students: Sequence[Compared], metric: Judged) -> dict[int, Beside]:
    """Return how students stand beside the same ones trained alone, by their identity."""
    by_key = {one.configuration.key: one for one in students}
    pairs = [
        (one, alone, above)
        for one in students
        if (alone := by_key.get(one.configuration.key_alone or "")) is not None
        and (above := one.above(alone, metric))
    ]
    telling = [
        place for place, (_, _, above) in enumerate(pairs) if can_tell(len(above), len(pairs))
    ]
    p_of = dict(zip(telling, holm([paired_p(pairs[n][2]) for n in telling]), strict=True))
    return {
        id(one): Beside(mean(above), one.spread_above(alone, metric), p_of.get(place))
        for place, (one, alone, above) in enumerate(pairs)
    }


def _kept_up_with(
    student: Compared, baselines: Sequence[Compared], metric: Judged
) -> tuple[str, ...]:
    names = []
    for baseline in baselines:
        above = student.above(baseline, metric)
        if not above or baseline.cost.deployed.flops > student.cost.deployed.flops:
            continue
        is_open = can_tell(len(above)) and paired_p(above) >= SIGNIFICANT
        if mean(above) <= 0 or is_open:
            names.append(baseline.words)
    return tuple(names)
