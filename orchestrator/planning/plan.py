"""From a spec to candidates, the distinct stages they need, and packs. Pure: no Ray, no I/O."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Self, TypeVar

from kd_models.data import DatasetRow, resolve_class
from kd_models.methods.base import Step
from kd_models.names import together
from kd_models.training.recipe import Recipe
from kd_models.values import short_text
from orchestrator.planning.keys import SCHEMA, Encoded, canonical_json, sha256
from orchestrator.planning.spec import SpecError, SweepSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
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
        trained: its step and recipe.
        seed: of initial weights and of the order of images.
        fingerprint: of the dataset's content.
        parents: keys of the stages whose networks it starts from or learns from, oldest first.
    """

    method: str
    dataset: str
    normal_class: str
    image_size: int
    trained: Trained
    seed: int
    fingerprint: str
    parents: tuple[str, ...]

    @property
    def step(self) -> Step:
        """Return the training step."""
        return self.trained.step

    @property
    def recipe(self) -> Recipe | None:
        """Return how the step is trained; None where its learner has no objectives."""
        return self.trained.recipe

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
                **self.trained.identity,
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
        """Return the step's name, with a note if it is a second step."""
        return f"{self.step.name} as second step" if len(self.parents) > 1 else self.step.name

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
    method: str
    axes: Mapping[str, Any]
    """values by the name of the method's own axis, as JSON; the first says most"""
    seed: int
    stages: tuple[str, ...]
    """keys of its chain, the student itself last"""
    depth: int | None = None
    """bits in use of its training images that have 16 a sample; None where none has"""

    @property
    def key(self) -> str:
        """Return the key of the stage that is the student."""
        return self.stages[-1]

    def name(self) -> str:
        """Return dataset, class, axes and seed in one line."""
        axes = " ".join(map(short_text, self.axes.values()))
        return f"{together(self.dataset, self.normal_class)} {axes} seed {self.seed}"


MOST_IN_A_PACK = 64
"""at 48 lanes, the most that was measured, more lanes gain little (docs/benchmarks.md), while more
work is lost with a machine"""


@dataclass(frozen=True)
class Pack:
    """Stages of one shape that one trial trains, as lanes of one network or one after another.

    Attributes:
        key: the same whatever is left to train, so that an unfinished run is found again.
        stages: those that are left to train.
    """

    key: str
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, stages: Sequence[Stage], finished: Collection[str] = ()) -> Self:
        """Return the pack of stages; those whose keys are in ``finished`` are trained already."""
        keys = [stage.key for stage in stages]
        key = keys[0] if len(keys) == 1 else sha256(canonical_json(keys))
        return cls(key, tuple(stage for stage in stages if stage.key not in finished))

    @property
    def parents(self) -> frozenset[str]:
        """Return the keys of the stages that must be finished before it starts."""
        return frozenset(parent for stage in self.stages for parent in stage.parents)


def evenly(things: Sequence[T], parts: int) -> Iterator[Sequence[T]]:
    """Yield ``things`` in ``parts`` parts of nearly equal size."""
    for part in range(parts):
        yield things[part * len(things) // parts : (part + 1) * len(things) // parts]


@dataclass(frozen=True)
class Plan:
    """Candidates, and every distinct stage they need, parents before children."""

    spec: SweepSpec
    candidates: tuple[Candidate, ...]
    stages: Mapping[str, Stage]

    @cached_property
    def candidate_of(self) -> Mapping[str, Candidate]:
        """Return candidates by the key of the stage that is the student."""
        return {candidate.key: candidate for candidate in self.candidates}

    @property
    def stages_by_kind(self) -> dict[str, int]:
        """Return how many stages train a teacher, and how many a student."""
        counts = Counter(stage.kind for stage in self.stages.values())
        return {kind: counts[kind] for kind in ("teacher", "student")}

    @property
    def stages_by_step(self) -> dict[str, int]:
        """Return how many stages there are of each step."""
        return dict(Counter(stage.step.name for stage in self.stages.values()))

    @property
    def stages_without_sharing(self) -> dict[str, int]:
        """Return how many stages of each kind there would be if nothing were shared."""
        kinds = Counter(
            self.stages[key].kind for candidate in self.candidates for key in candidate.stages
        )
        return {kind: kinds[kind] for kind in ("teacher", "student")}

    def epochs(self, finished: frozenset[str] = frozenset()) -> int:
        """Return the epochs to train when the stages ``finished`` are in the store."""
        return sum(stage.epochs for key, stage in self.stages.items() if key not in finished)

    @property
    def epochs_without_sharing(self) -> int:
        """Return the epochs of all candidates, if nothing were shared."""
        return sum(
            self.stages[key].epochs for candidate in self.candidates for key in candidate.stages
        )

    def packs(
        self, finished: frozenset[str] = frozenset(), *, concurrent: int = 1
    ) -> tuple[Pack, ...]:
        """Return what is left to train when the stages ``finished`` are in the store.

        Stages of one shape are packed, in as many packs as keep ``concurrent`` trials at work.
        Which stages are packed together does not depend on which are finished. A finished
        student needs no parents, so a teacher missing from the store is trained again only for
        a student that still needs it, or to be compared with.
        """
        groups = self._groups()
        at_once = Counter(parents for parents, *_ in groups)
        packs = []
        for (parents, *_), stages in groups.items():
            wanted = min(-(-concurrent // at_once[parents]), len(stages))
            parts = max(wanted, -(-len(stages) // MOST_IN_A_PACK))
            for part in evenly(stages, parts):
                pack = Pack.of(part, finished)
                if pack.stages:
                    packs.append(pack)
        return tuple(packs)

    def _groups(self) -> Mapping[tuple[int, Hashable], list[Stage]]:
        """Return stages by their number of parents and what else those of a pack share."""
        groups: dict[tuple[int, Hashable], list[Stage]] = {}
        # Hashing a step is slow, and stages share these objects, so each is numbered once.
        numbers: dict[int, int] = {}
        known: dict[Hashable, int] = {}
        for stage in self.stages.values():
            trained = stage.trained
            if id(trained) not in numbers:
                numbers[id(trained)] = known.setdefault(trained.lane_group, len(known))
            alike = (stage.method, stage.dataset, stage.image_size, numbers[id(trained)])
            groups.setdefault((len(stage.parents), alike), []).append(stage)
        return groups


@dataclass(frozen=True)
class DatasetFacts:
    """What planning has to know of a dataset."""

    row: DatasetRow
    fingerprint: str
    """of its content"""
    class_fingerprints: Mapping[str, str] | None = None
    """of the content that is used for each normal class, where that is not all of it"""
    depths: Mapping[str, int | None] = field(default_factory=dict)
    """by normal class, see ImageSet"""

    def fingerprint_of(self, normal_class: str) -> str:
        """Return the fingerprint of what the task with a normal class is made of."""
        return (self.class_fingerprints or {}).get(normal_class, self.fingerprint)


TAKEN_AXES = frozenset(
    (
        *("dataset", "normal_class", "method", "student", "seed", "step", "role", "sweep"),
        *("stage_key", "parent_keys", "status", "reason", "complete", "threshold"),
        *("auroc", "val_auroc", "test_auroc", "teacher_auroc", "gmean", "fpr", "fnr"),
    )
)
"""Names that no axis may have, since stages' tags and results' rows use them otherwise."""


def _check_axes(method: str, axes: Mapping[str, Any], step: Step) -> None:
    taken = sorted(TAKEN_AXES & axes.keys())
    if taken:
        raise SpecError(
            f"method {method} has an axis {', '.join(taken)}, which results have for something "
            "else; its package must give it another name"
        )
    if step.axis not in axes:
        raise SpecError(
            f"method {method}: its step's axis {step.axis} is none of its variants' axes "
            f"({', '.join(axes)}); its package must name one of them"
        )


def make_plan(spec: SweepSpec, facts: Mapping[str, DatasetFacts], pretrained: str = "") -> Plan:
    """Expand a spec into candidates and the distinct stages behind them.

    Two candidates that would train the very same student (they differ only in weights of losses
    that their structure does not use) are one candidate.

    Args:
        spec: the sweep.
        facts: by dataset name, for every dataset of the spec.
        pretrained: SHA-256 of the pretrained teacher's weights, if the method has one.

    Raises:
        SpecError: ``normal_classes`` lacks a dataset, or an axis of the method cannot be used.
        DataError: a dataset does not have a normal class.
    """
    stages: dict[str, Stage] = {}
    candidates: dict[str, Candidate] = {}
    # Many candidates need the same stage, and making and hashing one takes time. So equal steps
    # become one object, and a stage that was made is found by the id of its step.
    same: dict[Trained, Trained] = {}
    known: dict[tuple[object, ...], str] = {}
    for dataset in dict.fromkeys(spec.datasets):
        fact = facts[dataset]
        wanted = spec.classes_of(dataset, tuple(fact.row.classes))
        classes = dict.fromkeys(resolve_class(fact.row, name) for name in wanted)
        variants = [
            (
                variant,
                [same.setdefault(t, t) for t in map(Trained, *zip(*variant.steps, strict=True))],
            )
            for variant in spec.settings.variants(fact.row, pretrained)
        ]
        for variant, chain in variants:
            _check_axes(spec.method, variant.axes, chain[-1].step)
        for normal_class, (variant, chain), seed in product(classes, variants, spec.seeds):
            keys: list[str] = []
            for trained in chain:
                wish = (dataset, normal_class, variant.image_size, id(trained), seed, *keys)
                if wish not in known:
                    stage = Stage(
                        method=spec.method,
                        dataset=fact.row.name,
                        normal_class=normal_class,
                        image_size=variant.image_size,
                        trained=trained,
                        seed=seed,
                        fingerprint=fact.fingerprint_of(normal_class),
                        parents=tuple(keys),
                    )
                    stages.setdefault(stage.key, stage)
                    known[wish] = stage.key
                keys.append(known[wish])
            candidate = Candidate(
                fact.row.name,
                normal_class,
                fact.row.classes[normal_class],
                spec.method,
                variant.axes,
                seed,
                tuple(keys),
                fact.depths.get(normal_class),
            )
            candidates.setdefault(candidate.key, candidate)
    ordered = sorted(stages.values(), key=lambda stage: len(stage.parents))
    return Plan(spec, tuple(candidates.values()), {stage.key: stage for stage in ordered})
