"""Results of a sweep: one for each stage and candidate, read from the store."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.localisation import Shown
from kd_models.evaluation.metrics import Evaluation, evaluate
from kd_models.evaluation.protocol import EvaluationProtocol, holdout_split
from kd_models.methods.base import StateDict
from kd_models.threads import in_threads
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Candidate, Stage
from orchestrator.reporting.costs import cost_of
from orchestrator.s3_client import AT_ONCE
from orchestrator.store.record import (
    History,
    ScoredSplit,
    check_identity,
    read_history,
    read_networks,
    read_scores,
    read_shown,
)
from orchestrator.store.stages import CorruptStage, Store

Status = Literal["finished", "failed", "skipped", "unfinished"]
"""``skipped``: a stage that it needs failed."""

LOCALISATION = ("pixel_auroc", "pro")
"""Terms of a last epoch that say how well novelty is localised."""


@dataclass(frozen=True)
class StageResult:
    """All that there is of a stored stage.

    Attributes:
        stage: the stage.
        history: its epochs.
        scores: the novelty scores of the whole test split.
        evaluation: of these scores.
        cost: what its detector costs to run.
        shown: images with their heat maps, where the step localises.
        weights: those that its detector deploys as its student.
    """

    stage: Stage
    history: History
    scores: ScoredSplit
    evaluation: Evaluation
    cost: Cost
    shown: tuple[Shown, ...]
    weights: StateDict = field(repr=False)


@dataclass(frozen=True)
class CandidateResult:
    """A candidate and what became of it.

    Attributes:
        candidate: the candidate.
        status: what became of it.
        reason: why it is not finished.
        evaluation: of its student.
        teacher_auroc: of its teacher, by the same score.
        teacher_val_auroc: of its teacher, on the validation half.
        cost: what its detector costs to run.
        localisation: ``pixel_auroc`` and ``pro``, where masks show what is novel.
    """

    candidate: Candidate
    status: Status
    reason: str = ""
    evaluation: Evaluation | None = None
    teacher_auroc: float | None = None
    cost: Cost | None = None
    teacher_val_auroc: float | None = None
    localisation: Mapping[str, float] = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """Return the AUROC above (positive) or below that of its teacher."""
        if self.evaluation is None or self.teacher_auroc is None:
            return None
        return self.evaluation.auroc - self.teacher_auroc

    def as_row(self) -> dict[str, Any]:
        """Return everything as one flat JSON object."""
        candidate = self.candidate
        return {
            "dataset": candidate.dataset,
            "normal_class": candidate.normal_class,
            "method": candidate.configuration.method,
            "label": candidate.configuration.label,
            "kind": candidate.configuration.kind,
            **candidate.axes,
            "seed": candidate.seed,
            "stage_key": candidate.key,
            "status": self.status,
            "reason": self.reason,
            **(asdict(self.evaluation) if self.evaluation else {}),
            "teacher_auroc": self.teacher_auroc,
            "difference_to_teacher": self.difference,
            **self.localisation,
            **(self.cost.as_metrics() if self.cost else {}),
        }


def collect(
    plan: Plan, store: Store, failed: Mapping[str, str], skipped: Mapping[str, str]
) -> list[CandidateResult]:
    """Return the result of every candidate, in the plan's order.

    Args:
        plan: the plan.
        store: where finished stages are.
        failed: as in Schedule.
        skipped: as in Schedule.
    """
    # Latency is measured where nothing else runs.
    for candidate in plan.candidates:
        cost_of(plan.stages[candidate.key])

    def result(candidate: Candidate) -> CandidateResult:
        return candidate_result(plan, candidate, store, failed, skipped)

    return list(in_threads(result, plan.candidates, AT_ONCE))


def candidate_result(
    plan: Plan,
    candidate: Candidate,
    store: Store,
    failed: Mapping[str, str] = MappingProxyType({}),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> CandidateResult:
    """Return the result of one candidate; arguments as for :func:`collect`."""
    if candidate.key in failed:
        return CandidateResult(candidate, "failed", failed[candidate.key])
    if candidate.key in skipped:
        origin = skipped[candidate.key]
        reason = f"{plan.stages[origin].title} failed: {failed[origin]}"
        return CandidateResult(candidate, "skipped", reason)
    student, teacher = plan.stages[candidate.key], plan.teacher_of(candidate)
    try:
        check_identity(store, student)
        found = evaluation_of(read_scores(store, student), plan.spec.evaluation.protocol)
        last = read_history(store, student)[-1]
    except KeyError:
        return CandidateResult(candidate, "unfinished", "the sweep was interrupted")
    except CorruptStage as error:
        return CandidateResult(candidate, "failed", str(error))
    taught = None if teacher is None else _of_teacher(teacher, store)
    return CandidateResult(
        candidate,
        "finished",
        evaluation=found,
        teacher_auroc=None if taught is None else taught.auroc,
        teacher_val_auroc=None if taught is None else taught.val_auroc,
        cost=cost_of(student),
        localisation={name: last[name] for name in LOCALISATION if name in last},
    )


def stage_result(stage: Stage, store: Store, protocol: EvaluationProtocol) -> StageResult:
    """Return the result of a stored stage.

    Raises:
        KeyError: the store lacks the stage.
        CorruptStage: what the store has is damaged, or something else.
    """
    check_identity(store, stage)
    scores = read_scores(store, stage)
    return StageResult(
        stage,
        read_history(store, stage),
        scores,
        evaluation_of(scores, protocol),
        cost_of(stage),
        read_shown(store, stage),
        read_networks(store, stage.key)[stage.step.scored],
    )


def evaluation_of(scores: ScoredSplit, protocol: EvaluationProtocol) -> Evaluation:
    """Return the evaluation of a test split's scores."""
    return evaluate(scores.scores, scores.novel, holdout_split(scores.labels), protocol)


def _of_teacher(teacher: Stage, store: Store) -> Evaluation | None:
    try:
        return evaluation_of(read_scores(store, teacher), "paper")
    except (KeyError, CorruptStage):
        return None
