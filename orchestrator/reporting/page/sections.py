"""What the page shows of results alone: what quality costs, and AUROC by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.planning.configuration import Task
from orchestrator.planning.plan import Plan
from orchestrator.reporting.page.class_figures import MOST_CLASSES, class_figures
from orchestrator.reporting.page.front_figures import Front, front_of
from orchestrator.reporting.page.look import Drawn
from orchestrator.reporting.page.plotted import Plotted, side_by_side
from orchestrator.reporting.page.table import PageTable
from orchestrator.reporting.page.tables import classes_table

MOST_DATASETS = 12
"""that are drawn"""


@dataclass(frozen=True)
class ClassesOfADataset:
    """AUROC by class of one dataset.

    Attributes:
        dataset: the dataset.
        figures: of its classes.
        table: the same in numbers.
        notes: what was left out.
    """

    dataset: str
    figures: Sequence[Drawn]
    table: PageTable
    notes: Sequence[str]


def fronts(plan: Plan, of: Mapping[str, Sequence[Plotted]]) -> list[Front]:
    """Draw what quality costs, for each dataset."""
    is_paper = plan.spec.evaluation.protocol == "paper"
    words = "whole test split" if is_paper else "validation half"
    found = (
        front_of(own, words, f"front-{number}")
        for number, own in enumerate(list(of.values())[:MOST_DATASETS], start=1)
    )
    return [front for front in found if front is not None]


def class_names(plan: Plan) -> dict[Task, str]:
    """Return what the normal class of each task is called: by its key, and its name if it has one.

    Equal names of different classes differ in their keys.
    """
    return {
        one.task: one.normal_class
        if one.normal_class_name == one.normal_class
        else f"{one.normal_class} {one.normal_class_name}"
        for one in plan.candidates
    }


def by_class(
    of: Mapping[str, Sequence[Plotted]], names: Mapping[Task, str]
) -> list[ClassesOfADataset]:
    """Draw AUROC by class, for each dataset."""
    found = []
    for number, (dataset, own) in enumerate(list(of.items())[:MOST_DATASETS], start=1):
        shown = side_by_side(own)
        every = list(dict.fromkeys(name for one in shown for name in one.aurocs))
        classes = {name: names[dataset, name] for name in every[:MOST_CLASSES]}
        notes = []
        if len(own) > len(shown):
            notes.append(
                f"{len(own) - len(shown)} more configurations are in the tables: shown are the "
                "best student of each method, what differs from it in the first axis alone, its "
                "teacher, and the best baseline."
            )
        if len(every) > len(classes):
            notes.append(f"{len(every) - len(classes)} more classes are in the last table.")
        found.append(
            ClassesOfADataset(
                dataset,
                class_figures(shown, classes, f"classes-{number}"),
                classes_table(shown, classes, f"classes-of-{number}"),
                notes,
            )
        )
    return found
