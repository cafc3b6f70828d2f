"""What a sweep came to: one result per candidate, read from the store."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import torch

from kd_models.complexity import Cost
from kd_models.complexity import cost as measure_cost
from kd_models.metrics import Evaluation, evaluate
from kd_models.protocol import Protocol, holdout_split
from kd_models.step import Detector
from orchestrator.plan import Candidate, Plan, Stage
from orchestrator.record import Scores, read_history, read_scores
from orchestrator.store import CorruptStage, Store

LOCALISATION = ("pixel_auroc", "pro")
"""terms of a last epoch that say how well novelty is localised"""


@dataclass(frozen=True)
class CandidateResult:
    """A candidate and what became of it."""

    candidate: Candidate
    status: str
    """``finished``, ``failed``, ``skipped`` (a stage it needs failed) or ``unfinished``"""
    reason: str = ""
    evaluation: Evaluation | None = None
    teacher_auroc: float | None = None
    cost: Cost | None = None
    localisation: Mapping[str, float] = field(default_factory=dict)
    """``pixel_auroc`` and ``pro``, where masks show what is novel"""

    @property
    def difference(self) -> float | None:
        """AUROC above (positive) or below that of its teacher."""
        if self.evaluation is None or self.teacher_auroc is None:
            return None
        return self.evaluation.auroc - self.teacher_auroc

    def as_row(self) -> dict[str, Any]:
        """Return everything as one flat JSON object."""
        candidate = self.candidate
        return {
            "dataset": candidate.dataset,
            "normal_class": candidate.normal_class,
            **candidate.axes,
            "seed": candidate.seed,
            "stage_key": candidate.key,
            "status": self.status,
            "reason": self.reason,
            **(asdict(self.evaluation) if self.evaluation else {}),
            "teacher_auroc": self.teacher_auroc,
            "difference_to_teacher": self.difference,
            **self.localisation,
            **(asdict(self.cost) if self.cost else {}),
        }


def collect(
    plan: Plan, store: Store, failed: Mapping[str, str], skipped: Mapping[str, str]
) -> list[CandidateResult]:
    """Return the result of every candidate, in the plan's order.

    Args:
        failed, skipped: as in Schedule.
    """
    return [result_of(plan, candidate, store, failed, skipped) for candidate in plan.candidates]


def result_of(
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
        return CandidateResult(
            candidate, "skipped", f"{plan.stages[origin].title} failed: {failed[origin]}"
        )
    stages = [plan.stages[key] for key in candidate.stages]
    student, teacher = stages[-1], stages[0] if stages[0].kind == "teacher" else None
    try:
        evaluation = judge(student, store, plan.spec.evaluation.protocol)
        last = read_history(store, student)[-1]
    except KeyError:
        return CandidateResult(candidate, "unfinished", "the sweep was interrupted")
    except CorruptStage as error:
        return CandidateResult(candidate, "failed", str(error))
    return CandidateResult(
        candidate,
        "finished",
        evaluation=evaluation,
        teacher_auroc=_auroc_of(teacher, store),
        cost=cost(student),
        localisation={name: last[name] for name in LOCALISATION if name in last},
    )


def judge(stage: Stage, store: Store, protocol: Protocol) -> Evaluation:
    """Evaluate a stored stage from its scores."""
    return evaluation_of(read_scores(store, stage), protocol)


def evaluation_of(scores: Scores, protocol: Protocol) -> Evaluation:
    return evaluate(scores.scores, scores.novel, holdout_split(scores.labels), protocol)


def _auroc_of(teacher: Stage | None, store: Store) -> float | None:
    if teacher is None:
        return None
    try:
        return judge(teacher, store, "paper").auroc
    except (KeyError, CorruptStage):
        return None


def cost(stage: Stage) -> Cost:
    """Return what the detector that a stage trains costs."""
    return detector_cost(stage.config.step.detector.shape(), stage.config.image_size)


@cache
def detector_cost(detector: Detector, image_size: int) -> Cost:
    """Count and measure a detector's cost for one image, as both papers count it.

    Measured once for each detector, in this process: call it first where nothing else runs.
    """
    with torch.random.fork_rng(devices=[]):
        scorer = detector.scorer().eval()
    example = torch.zeros(1, detector.channels, image_size, image_size)
    return measure_cost(scorer, example)
