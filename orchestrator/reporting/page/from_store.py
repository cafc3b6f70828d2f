"""What the page shows of stored stages: training curves, ROC curves and scores. It reads few."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kd_models.threads import in_threads
from orchestrator.planning.configuration import Task
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.page.curve_figures import curve_figure
from orchestrator.reporting.page.curves import chosen_tasks, in_turn, lines_of, mean_curve
from orchestrator.reporting.page.look import Drawn, task_title
from orchestrator.reporting.page.plotted import Plotted, best_of, chosen_by, side_by_side
from orchestrator.reporting.page.score_figures import roc_panel, score_panel
from orchestrator.reporting.page.sections import class_names
from orchestrator.reporting.results import CandidateResult
from orchestrator.s3_client import AT_ONCE
from orchestrator.store.record import read_history, read_scores
from orchestrator.store.stages import CorruptStage, Store

MOST_ROCS = 20
"""tasks of which scores are read"""

T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    """Some of the page's figures.

    Attributes:
        figures: those there are.
        notes: what was left out.
    """

    figures: Sequence[Drawn]
    notes: Sequence[str]


@dataclass(frozen=True)
class Scored:
    """A student's ROC curve and scores on one task.

    Attributes:
        title: the task, the student and its seed.
        figures: both.
    """

    title: str
    figures: Sequence[Drawn]


def training_curves(plan: Plan, of: Mapping[str, Sequence[Plotted]], store: Store) -> Figures:
    """Draw AUROC by epoch, as many tasks as the limits of reading allow."""
    lines = {
        (dataset, normal_class): lines_of(plan, shown, normal_class)
        for dataset, own in of.items()
        for shown in [side_by_side(own)]
        for normal_class in dict.fromkeys(name for one in shown for name in one.aurocs)
    }
    chosen, names = chosen_tasks(lines), class_names(plan)
    histories, lost = _read(
        read_history,
        [stage for own in chosen.values() for line in own for stage in line.stages],
        store,
    )
    figures = []
    for number, (task, own) in enumerate(chosen.items(), start=1):
        curves = []
        for line in own:
            there = [histories[stage.key] for stage in line.stages if stage.key in histories]
            if (curve := mean_curve(there)) is not None:
                curves.append((line, curve))
        if curves:
            title = task_title(task[0], names[task])
            figures.append(curve_figure(curves, title, f"curves-{number}"))
    notes = [*lost]
    trained = sum(map(bool, lines.values()))
    if trained > len(chosen):
        notes.append(
            f"A sample: {len(chosen)} of {trained} datasets and classes, in the order of the sweep "
            "file; of more the histories are not read."
        )
    return Figures(figures, notes)


def roc_and_scores(
    plan: Plan,
    of: Mapping[str, Sequence[Plotted]],
    results: Sequence[CandidateResult],
    store: Store,
) -> tuple[list[Scored], list[str]]:
    """Draw ROC curve and scores of each dataset's best student on each class, and what is left out.

    Of its seeds it is the one that did best on what students are chosen by.
    """
    metric = chosen_by(plan.spec.evaluation.protocol)
    best, names = _best_results(of, results, metric), class_names(plan)
    by_dataset: dict[str, list[Task]] = {}
    for task in best:
        by_dataset.setdefault(task[0], []).append(task)
    drawn = in_turn(by_dataset.values())[:MOST_ROCS]
    stages = {task: plan.stages[best[task].candidate.key] for task in best if task in set(drawn)}
    scores, notes = _read(read_scores, list(stages.values()), store)
    found = []
    for number, (task, stage) in enumerate(stages.items(), start=1):
        evaluation, candidate = best[task].evaluation, best[task].candidate
        if stage.key not in scores or evaluation is None:
            continue
        words, split = plan.telling.words(candidate.configuration), scores[stage.key]
        title = task_title(task[0], names[task])
        figures = (
            roc_panel(split, evaluation.auroc, title, f"roc-{number}"),
            score_panel(split, evaluation.threshold, title, f"scores-{number}"),
        )
        found.append(
            Scored(
                f"{task[0]}, {names[task]}: {words}, seed {candidate.seed}, "
                f"AUROC {evaluation.auroc:.4f}, threshold {evaluation.threshold:.4g}",
                figures,
            )
        )
    if len(best) > len(drawn):
        notes.append(f"{len(best) - len(drawn)} more datasets and classes are left out.")
    return found, notes


def _best_results(
    of: Mapping[str, Sequence[Plotted]], results: Sequence[CandidateResult], metric: str
) -> dict[Task, CandidateResult]:
    """Return by task the best seed's result of the configuration that is best on the dataset."""
    winners = {dataset: best_of(own) for dataset, own in of.items()}
    chains = {
        chain for one in winners.values() if one for own in one.chains.values() for chain in own
    }
    found: dict[Task, CandidateResult] = {}
    for result in results:
        if result.evaluation is None or result.candidate.stages not in chains:
            continue
        before = found.get(result.candidate.task)
        value = getattr(result.evaluation, metric)
        if before is None or value > getattr(before.evaluation, metric):
            found[result.candidate.task] = result
    return found


def _read(
    read: Callable[[Store, Stage], T], stages: Sequence[Stage], store: Store
) -> tuple[dict[str, T], list[str]]:
    """Read something of stages by their keys, and say which could not be read."""

    def one(stage: Stage) -> T | None:
        try:
            return read(store, stage)
        except (KeyError, CorruptStage):
            return None

    every = zip(stages, in_threads(one, stages, AT_ONCE), strict=True)
    found = {stage.key: each for stage, each in every if each is not None}
    lost = len({stage.key for stage in stages}) - len(found)
    return found, [f"{lost} stages cannot be read from the store."] if lost else []
