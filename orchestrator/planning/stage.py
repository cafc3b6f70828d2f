"""Stages and candidates: what a plan is made of."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kd_models.methods.base import Step
from kd_models.recipe import Recipe
from kd_score.names import together
from orchestrator.planning.configuration import Configuration, Task, Telling
from orchestrator.planning.keys import SCHEMA, Encoded, canonical_json, sha256


@dataclass(frozen=True)
class StepWithRecipe:
    """A step and how it is trained: one object for all stages of a plan that share them.

    Attributes:
        step: the step.
        recipe: how its learner is trained; None where it has no objectives.
    """

    step: Step
    recipe: Recipe | None

    @cached_property
    def identity(self) -> Mapping[str, Encoded]:
        """Return both as JSON, encoded once, since a plan has many stages and few of these."""
        recipe = self.recipe and self.recipe.model_dump(mode="json")
        return {"step": Encoded(self.step.model_dump(mode="json")), "recipe": Encoded(recipe)}

    @cached_property
    def lane_group(self) -> Hashable:
        """Return what stages that may train as lanes of one network have in common."""
        return self.step.lane_group, self.recipe


@dataclass(frozen=True)
class Stage:
    """One training run in a candidate's chain.

    Attributes:
        method: name of the method.
        dataset: name of the dataset.
        normal_class: key of the normal class.
        image_size: pixels a side of the images that its networks take.
        step_with_recipe: its step and recipe.
        seed: of initial weights and of the order of images.
        fingerprint: of the dataset's content.
        parents: keys of the stages whose networks it starts from or learns from, oldest first.
    """

    method: str
    dataset: str
    normal_class: str
    image_size: int
    step_with_recipe: StepWithRecipe
    seed: int
    fingerprint: str
    parents: tuple[str, ...]

    @property
    def step(self) -> Step:
        """Return the training step."""
        return self.step_with_recipe.step

    @property
    def recipe(self) -> Recipe | None:
        """Return how the step is trained; None where its learner has no objectives."""
        return self.step_with_recipe.recipe

    @property
    def is_trained(self) -> bool:
        """Return whether it is trained by steps; what is only fitted has no seed of its own."""
        return self.recipe is not None

    @property
    def epochs(self) -> int:
        """Return the epochs that it trains; fitting counts as one."""
        return self.recipe.epochs if self.recipe else 1

    @property
    def identity(self) -> dict[str, Any]:
        """Return what the key is the hash of. The path of a folder dataset is not part of it."""
        return {
            "schema": SCHEMA,
            "config": {
                "method": self.method,
                "dataset": self.dataset.partition(":")[0],
                "normal_class": self.normal_class,
                "image_size": self.image_size,
                "seed": self.seed,
                **self.step_with_recipe.identity,
            },
            "fingerprint": self.fingerprint,
            "parents": self.parents,
        }

    @cached_property
    def key(self) -> str:
        """Return the SHA-256 of the identity's canonical JSON."""
        return sha256(canonical_json(self.identity))

    @property
    def kind(self) -> str:
        """Return ``teacher`` or ``student``."""
        return self.step.kind

    @property
    def step_title(self) -> str:
        """Return the step's name, with a note if it is a second step of training."""
        is_second = len(self.parents) > 1 and self.is_trained
        return f"{self.step.name} as second step" if is_second else self.step.name

    @property
    def title(self) -> str:
        """Return a short name for tables and logs, not unique over seeds, widths and weights."""
        return f"{together(self.dataset, self.normal_class)} {self.step_title}"


@dataclass(frozen=True)
class Candidate:
    """One student somebody may want."""

    dataset: str
    normal_class: str
    normal_class_name: str
    """as people call it"""
    configuration: Configuration
    seed: int
    stages: tuple[str, ...]
    """keys of its chain, the student itself last"""
    depth: int | None = None
    """bits in use of its training images that have 16 a sample; None where none has"""

    @property
    def key(self) -> str:
        """Return the key of the stage that is the student."""
        return self.stages[-1]

    @property
    def axes(self) -> Mapping[str, Any]:
        """Return the values by axis, as JSON."""
        return self.configuration.axes

    @property
    def task(self) -> Task:
        """Return dataset and normal class: what detectors are compared on."""
        return self.dataset, self.normal_class

    def name(self) -> str:
        """Return dataset, class, axes and seed in one line."""
        return f"{together(*self.task)} {self.configuration.name} seed {self.seed}"


def telling(candidates: Iterable[Candidate]) -> Telling:
    """Return what tells the configurations of candidates apart."""
    datasets: dict[str, dict[str, Configuration]] = {}
    for candidate in candidates:
        one = candidate.configuration
        datasets.setdefault(candidate.dataset, {})[one.key] = one
    return Telling({dataset: list(own.values()) for dataset, own in datasets.items()})
