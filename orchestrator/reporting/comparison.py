"""Comparison of students: the candidates of each combination of a method's axes, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kd_models.evaluation.cost import Cost
from kd_models.names import together
from kd_models.values import short_text
from orchestrator.planning.stage import Candidate
from orchestrator.reporting.results import CandidateResult

MOST_TASKS = 6
"""Datasets and normal classes that are compared one by one."""


@dataclass(frozen=True)
class Compared:
    """The students of one combination of a method's axes.

    Attributes:
        student: the axes that vary, in words.
        aurocs: by task, one for every seed (and class).
        costs: by task.
    """

    student: str
    aurocs: Mapping[str, tuple[float, ...]]
    costs: Mapping[str, Cost]


def compare(results: Sequence[CandidateResult]) -> list[Compared]:
    """Group the finished results by the method's axes; the order is that of the plan.

    A task is a dataset and normal class, or, where these are many, a dataset with all its classes.
    """
    finished = [result for result in results if result.status == "finished"]
    own = list(finished[0].candidate.axes) if finished else []
    tasks = _by_task(finished)
    whole_datasets = len(tasks) > MOST_TASKS
    # An axis that differs between tasks alone, as a default by dataset does, names no student.
    varying = [
        name
        for name in own
        if any(len({axis_value(r.candidate, name) for r in task}) > 1 for task in tasks.values())
    ]
    groups: dict[str, list[CandidateResult]] = {}
    for result in finished:
        words = " ".join(axis_value(result.candidate, name) for name in varying or own[:1])
        groups.setdefault(words, []).append(result)
    compared = []
    for words, group in groups.items():
        by_task = _by_task(group, whole_datasets)
        compared.append(
            Compared(
                words,
                {
                    task: tuple(r.evaluation.auroc for r in of if r.evaluation)
                    for task, of in by_task.items()
                },
                {task: of[0].cost for task, of in by_task.items() if of[0].cost},
            )
        )
    return compared


def axis_value(candidate: Candidate, axis: str) -> str:
    """Return a candidate's value on an axis in a short word."""
    return short_text(candidate.axes[axis])


def _by_task(
    finished: Sequence[CandidateResult], whole_datasets: bool = False
) -> dict[str, list[CandidateResult]]:
    tasks: dict[str, list[CandidateResult]] = {}
    for result in finished:
        candidate = result.candidate
        task = candidate.dataset
        if not whole_datasets:
            task = together(candidate.dataset, candidate.normal_class)
        tasks.setdefault(task, []).append(result)
    return tasks
