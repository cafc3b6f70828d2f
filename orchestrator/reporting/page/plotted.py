"""What figures show of a sweep: its configurations and their teachers, by dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.protocol import EvaluationProtocol
from orchestrator.planning.configuration import Configuration, Kind
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.comparison import Compared
from orchestrator.reporting.costs import cost_of
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.statistics import spread

MOST_BESIDE = 10
"""detectors that one picture tells apart"""


def chosen_by(protocol: EvaluationProtocol) -> str:
    """Return the metric that students are chosen by, as ``kd choose`` does."""
    return "auroc" if protocol == "paper" else "val_auroc"


@dataclass(frozen=True)
class Plotted:
    """A detector on one dataset.

    Attributes:
        dataset: the dataset.
        words: what tells it from the others.
        kind: what it is.
        group: label or method of its students.
        aurocs: by normal class, the AUROC of each seed over the whole test split.
        merit: the mean over classes and seeds of what students are chosen by; None where a class
            has none.
        spread: standard deviation of the merit over seeds; None of fewer than two.
        cost: what it costs to run.
        chains: by normal class, the keys of each seed's stages, its own last.
        configuration: what was planned; None for a teacher that nobody asked for by itself.
    """

    dataset: str
    words: str
    kind: Kind
    group: str
    aurocs: Mapping[str, Sequence[float]]
    merit: float | None
    spread: float | None
    cost: Cost
    chains: Mapping[str, Sequence[tuple[str, ...]]]
    configuration: Configuration | None = None


def plotted(
    plan: Plan, compared: Sequence[Compared], results: Sequence[CandidateResult]
) -> dict[str, list[Plotted]]:
    """Return by dataset what there is to show, teachers first."""
    metric = chosen_by(plan.spec.evaluation.protocol)
    found: dict[str, list[Plotted]] = {}
    for one in (*_teachers(plan, results, metric), *(_plotted(own, metric) for own in compared)):
        found.setdefault(one.dataset, []).append(one)
    return {dataset: found[dataset] for dataset in dict.fromkeys(own.dataset for own in compared)}


def _plotted(one: Compared, metric: str) -> Plotted:
    chains: dict[str, list[tuple[str, ...]]] = {}
    for (normal_class, _), result in one.results.items():
        chains.setdefault(normal_class, []).append(result.candidate.stages)
    return Plotted(
        one.dataset,
        one.words,
        one.configuration.kind,
        one.configuration.group,
        {own: one.of_class(own, "auroc") for own in one.classes},
        one.mean(metric),
        one.spread(metric),
        one.cost,
        chains,
        one.configuration,
    )


def _teachers(plan: Plan, results: Iterable[CandidateResult], metric: str) -> list[Plotted]:
    """Return the teachers of finished students, but for those that are candidates themselves."""
    found: dict[tuple[str, int], dict[str, tuple[Stage, CandidateResult]]] = {}
    for result in results:
        if result.teacher_auroc is None or (stage := plan.teacher_of(result.candidate)) is None:
            continue
        if stage.key not in plan.candidate_of:
            # Equal steps of a plan are one object.
            own = found.setdefault((stage.dataset, id(stage.step_with_recipe)), {})
            own.setdefault(stage.key, (stage, result))
    return [_teacher(plan, list(own.values()), metric) for own in found.values()]


def _teacher(plan: Plan, own: Sequence[tuple[Stage, CandidateResult]], metric: str) -> Plotted:
    stage, result = own[0]
    group = result.candidate.configuration.group
    aurocs: dict[str, list[float]] = {}
    chains: dict[str, list[tuple[str, ...]]] = {}
    merits: dict[str, dict[int, float]] = {}
    for each, of in own:
        assert of.teacher_auroc is not None
        value = of.teacher_auroc if metric == "auroc" else of.teacher_val_auroc
        assert value is not None
        aurocs.setdefault(each.normal_class, []).append(of.teacher_auroc)
        chains.setdefault(each.normal_class, []).append((*each.parents, each.key))
        merits.setdefault(each.normal_class, {})[each.seed] = value
    seeds = set.intersection(*(set(by_seed) for by_seed in merits.values()))
    by_seed = [mean(own[seed] for own in merits.values()) for seed in sorted(seeds)]
    return Plotted(
        stage.dataset,
        f"{group} {stage.step.name}" if plan.telling.several_methods else stage.step.name,
        "teacher",
        group,
        aurocs,
        mean(mean(own.values()) for own in merits.values()),
        spread(by_seed),
        cost_of(stage),
        chains,
    )


def best_of(of: Sequence[Plotted]) -> Plotted | None:
    """Return the best of a dataset's students, of those with the most classes.

    Where there is no student it is the best baseline, else the best teacher.
    """
    for kind in ("student", "baseline", "teacher"):
        own = [one for one in of if one.kind == kind and one.merit is not None]
        most = max((len(one.aurocs) for one in own), default=0)
        if whole := [one for one in own if len(one.aurocs) == most]:
            return max(whole, key=_merit)
    return None


def side_by_side(of: Sequence[Plotted]) -> list[Plotted]:
    """Return the detectors of a dataset that pictures show beside each other.

    Of each method they are the best student with its teacher, and those that differ from it in the
    first axis alone, such as the structure; for a value of that axis with which there is none, the
    best one. And the best baseline. Of more than :data:`MOST_BESIDE` the best ones, in their order.
    """
    students = [one for one in of if one.kind == "student"]
    if not students:
        return sorted(of, key=_merit, reverse=True)[:MOST_BESIDE]
    first: list[Plotted] = []
    others: list[Plotted] = []
    for group in dict.fromkeys(one.group for one in students):
        own = [one for one in students if one.group == group]
        if best := best_of(own):
            first += [best, *_teacher_of(best, own, of)]
            others += _variations(best, own)
    baselines = [one for one in of if one.kind == "baseline"]
    first += sorted(baselines, key=_merit, reverse=True)[:1]
    ordered = [*first, *sorted(others, key=_merit, reverse=True)]
    kept = {id(one) for one in ordered[:MOST_BESIDE]}
    return [one for one in of if id(one) in kept]


def _teacher_of(best: Plotted, students: Sequence[Plotted], of: Sequence[Plotted]) -> list[Plotted]:
    """Return the teacher of a method's students, by the score of the best one if there is such."""
    taught = _firsts(students)
    own = [one for one in of if one.kind == "teacher" and not taught.isdisjoint(_firsts([one]))]
    return sorted(own, key=lambda one: not _agree(one, best))[:1]


def _firsts(of: Iterable[Plotted]) -> set[str]:
    """Return the keys of the first stages of chains."""
    return {chain[0] for one in of for chains in one.chains.values() for chain in chains}


def _variations(best: Plotted, students: Sequence[Plotted]) -> list[Plotted]:
    """Return a student for each value of the first axis but the best one's own."""
    values: dict[str, list[Plotted]] = {}
    for one in students:
        values.setdefault(_first_value(one), []).append(one)
    values.pop(_first_value(best))
    return [
        next((one for one in own if _agree(one, best)), None) or max(own, key=_merit)
        for own in values.values()
    ]


def _agree(one: Plotted, other: Plotted) -> bool:
    """Return whether two have the same values on all axes that both have but their first."""
    if one.configuration is None or other.configuration is None:
        return False
    axes, others = one.configuration.axes, other.configuration.axes
    return all(axes[name] == others[name] for name in list(axes)[1:] if name in others)


def _first_value(one: Plotted) -> str:
    assert one.configuration is not None
    return str(next(iter(one.configuration.axes.values()), ""))


def _merit(one: Plotted) -> float:
    return one.merit or 0.0
