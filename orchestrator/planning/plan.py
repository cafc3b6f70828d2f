"""From a spec to candidates, the distinct stages they need, and packs. Pure: no Ray, no I/O."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TypeVar

from kd_models.data import DatasetRow, resolve_class
from kd_models.methods.base import Variant
from orchestrator.planning.axes import check_axes
from orchestrator.planning.configuration import Configuration, Telling
from orchestrator.planning.pack import MOST_IN_A_PACK, Pack, evenly
from orchestrator.planning.spec import MethodSpec, SpecError, SweepSpec
from orchestrator.planning.stage import Candidate, Stage, StepWithRecipe, telling

T = TypeVar("T")


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

    def teacher_of(self, candidate: Candidate) -> Stage | None:
        """Return the stage that scores images as a student's teacher does, by the same score.

        None for a teacher itself, for students without one, and where a score is fitted after the
        training and the sweep has no such teacher.
        """
        first = self.stages[candidate.stages[0]]
        if candidate.configuration.kind != "student" or first.kind != "teacher":
            return None
        last = self.stages[candidate.key]
        if last.recipe is not None:
            return first
        return self._fitted_teachers.get((first.key, type(last.step)))

    @cached_property
    def _fitted_teachers(self) -> Mapping[tuple[str, type], Stage]:
        """Return the stages that fit a score of a teacher, by the teacher's key."""
        return {
            (stage.parents[-1], type(stage.step)): stage
            for stage in self.stages.values()
            if not stage.is_trained and stage.kind == "teacher" and stage.parents
        }

    @cached_property
    def telling(self) -> Telling:
        """Return what tells the candidates' configurations apart."""
        return telling(self.candidates)

    @property
    def stages_by_kind(self) -> dict[str, int]:
        """Return how many stages train a teacher or a student, or fit a baseline."""
        return self._by_kind(self.stages)

    @property
    def stages_by_step(self) -> dict[str, int]:
        """Return how many stages there are of each step."""
        return dict(Counter(stage.step.name for stage in self.stages.values()))

    @property
    def stages_without_sharing(self) -> dict[str, int]:
        """Return how many stages of each kind there would be if nothing were shared."""
        return self._by_kind(key for candidate in self.candidates for key in candidate.stages)

    def _by_kind(self, keys: Iterable[str]) -> dict[str, int]:
        baselines = {c.key for c in self.candidates if c.configuration.kind == "baseline"}
        kinds = Counter("baseline" if key in baselines else self.stages[key].kind for key in keys)
        shown = ("teacher", "student", *(["baseline"] if baselines else []))
        return {kind: kinds[kind] for kind in shown}

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
        # What is only fitted takes seconds: it has a pack, and leaves the trials to trainings.
        at_once = Counter(
            parents for (parents, *_), stages in groups.items() if stages[0].recipe is not None
        )
        packs = []
        for (parents, *_), stages in groups.items():
            wanted = 1
            if stages[0].recipe is not None:
                wanted = min(-(-concurrent // at_once[parents]), len(stages))
            parts = max(wanted, -(-len(stages) // MOST_IN_A_PACK))
            for part in evenly(stages, parts):
                pack = Pack.of(part, finished)
                if pack.stages:
                    packs.append(pack)
        return tuple(packs)

    def _groups(self) -> Mapping[tuple[int, Hashable], list[Stage]]:
        """Return stages by their number of parents and what else those of a pack share.

        Stages whose last parents are of different groups are in different ones too, so that none
        waits for parents that only others need.
        """
        groups: dict[tuple[int, Hashable], list[Stage]] = {}
        # Hashing a step is slow, and stages share these objects, so each is numbered once.
        numbers: dict[int, int] = {}
        known: dict[Hashable, int] = {}
        group_of: dict[str, tuple[int, Hashable]] = {}
        for stage in self.stages.values():
            step = stage.step_with_recipe
            if id(step) not in numbers:
                numbers[id(step)] = known.setdefault(step.lane_group, len(known))
            parent = group_of[stage.parents[-1]] if stage.parents else None
            alike: Hashable = (stage.method, numbers[id(step)], parent)
            if step.recipe is None:
                # These are fitted one after another, whatever their shapes.
                alike = (parent, step.step.pretrained_sha256)
            group = (len(stage.parents), (stage.dataset, stage.image_size, alike))
            groups.setdefault(group, []).append(stage)
            group_of[stage.key] = group
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
    images: Mapping[str, int] = field(default_factory=dict)
    """by normal class, how many there are to train on, where that is known"""

    def fingerprint_of(self, normal_class: str) -> str:
        """Return the fingerprint of what the task with a normal class is made of."""
        return (self.class_fingerprints or {}).get(normal_class, self.fingerprint)


def make_plan(
    spec: SweepSpec, facts: Mapping[str, DatasetFacts], pretrained_sha256: str | None = None
) -> Plan:
    """Expand a spec into candidates and the distinct stages behind them.

    Two candidates that would train the very same student (they differ only in weights of losses
    that their structure does not use) are one candidate.

    Args:
        spec: the sweep.
        facts: by dataset name, for every dataset of the spec.
        pretrained_sha256: of the pretrained weights, if a method asks for any.

    Raises:
        SpecError: ``normal_classes`` lacks a dataset, an axis of a method cannot be used, or
            nothing tells two candidates apart.
        DataError: a dataset does not have a normal class.
    """
    planning = _Planning(spec, pretrained_sha256)
    methods = spec.all_methods
    for dataset in dict.fromkeys(spec.datasets):
        fact = facts[dataset]
        every: dict[str, None] = {}
        for place, method in enumerate(methods):
            is_baseline = place >= len(spec.methods)
            if is_baseline:
                classes = every
            else:
                wanted = spec.classes_of(method, dataset, tuple(fact.row.classes))
                classes = dict.fromkeys(resolve_class(fact.row, name) for name in wanted)
                every |= classes
            for normal_class in classes:
                planning.add(method, fact, normal_class, is_baseline=is_baseline)
    return planning.plan()


class _Planning:
    """A plan in the making."""

    def __init__(self, spec: SweepSpec, pretrained_sha256: str | None) -> None:
        self._spec, self._pretrained_sha256 = spec, pretrained_sha256
        self._stages: dict[str, Stage] = {}
        self._candidates: dict[str, Candidate] = {}
        self._of_a_name: dict[tuple[object, ...], object] = {}
        # Many candidates need the same stage, and making and hashing one takes time. So equal
        # steps become one object, and a stage that was made is found by the id of its step.
        self._same: dict[StepWithRecipe, StepWithRecipe] = {}
        self._known: dict[tuple[object, ...], str] = {}
        self._variants: dict[tuple[object, ...], list[_PlannedVariant]] = {}

    def plan(self) -> Plan:
        ordered = sorted(self._stages.values(), key=lambda stage: len(stage.parents))
        candidates = tuple(self._candidates.values())
        return Plan(self._spec, candidates, {stage.key: stage for stage in ordered})

    def add(
        self, method: MethodSpec, fact: DatasetFacts, normal_class: str, *, is_baseline: bool
    ) -> None:
        """Add a method's candidates of a normal class, with the stages that they need.

        Args:
            method: the method.
            fact: of the dataset.
            normal_class: key of the normal class.
            is_baseline: whether they are there for the others to be compared with.
        """
        variants = self._variants_of(
            method, fact, fact.images.get(normal_class), is_baseline=is_baseline
        )
        for variant, seed in product(variants, self._spec.seeds_of(method)):
            keys: list[str] = []
            seeds = [step.step.seed_of(seed) for step in variant.chain]
            for step, own_seed in zip(variant.chain, seeds, strict=True):
                wish = (fact.row.name, normal_class, variant.image_size, id(step), own_seed, *keys)
                if wish not in self._known:
                    stage = Stage(
                        method=method.method,
                        dataset=fact.row.name,
                        normal_class=normal_class,
                        image_size=variant.image_size,
                        step_with_recipe=step,
                        seed=own_seed,
                        fingerprint=fact.fingerprint_of(normal_class),
                        parents=tuple(keys),
                    )
                    self._stages.setdefault(stage.key, stage)
                    self._known[wish] = stage.key
                keys.append(self._known[wish])
            candidate = Candidate(
                fact.row.name,
                normal_class,
                fact.row.classes[normal_class],
                variant.configuration,
                variant.seed_of(seed),
                tuple(keys),
                fact.depths.get(normal_class),
            )
            self._check_is_told_apart(candidate, variant)
            first = self._candidates.setdefault(candidate.key, candidate).configuration
            if first.group != candidate.configuration.group:
                raise SpecError(
                    f"methods: {first.group} and {candidate.configuration.group} train the same "
                    f"student, {candidate.name()}; leave it out of one of them"
                )

    def _variants_of(
        self, method: MethodSpec, fact: DatasetFacts, images: int | None, *, is_baseline: bool
    ) -> "list[_PlannedVariant]":
        wish = (id(method), fact.row.name, images)
        if wish not in self._variants:
            found = method.settings.variants(fact.row, images, self._pretrained_sha256)
            self._variants[wish] = [
                self._planned(method, variant, is_baseline=is_baseline) for variant in found
            ]
        return self._variants[wish]

    def _planned(
        self, method: MethodSpec, variant: Variant, *, is_baseline: bool
    ) -> "_PlannedVariant":
        chain = tuple(StepWithRecipe(*each) for each in variant.steps)
        chain = tuple(self._same.setdefault(step, step) for step in chain)
        check_axes(method.method, variant.axes, chain[-1].step)
        kind = "baseline" if is_baseline else chain[-1].step.kind
        configuration = Configuration(
            method.method, kind, variant.axes, method.label, variant.alone
        )
        return _PlannedVariant(configuration, variant.image_size, chain)

    def _check_is_told_apart(self, candidate: Candidate, variant: "_PlannedVariant") -> None:
        one = candidate.configuration
        steps = (id(step) for step in variant.chain if step.recipe is not None)
        trained = (variant.image_size, *steps)
        names = (
            (*candidate.task, one.key, candidate.seed),  # the very same student
            (candidate.dataset, one.key),  # the same training, whatever the class and seed
        )
        for name, is_it in zip(names, (candidate.key, trained), strict=True):
            if self._of_a_name.setdefault(name, is_it) == is_it:
                continue
            raise SpecError(
                f"methods: two entries of {candidate.configuration.group} train different "
                f"students that are both called {candidate.name()}; give each entry a label"
            )


@dataclass(frozen=True)
class _PlannedVariant:
    configuration: Configuration
    image_size: int
    chain: tuple[StepWithRecipe, ...]

    def seed_of(self, seed: int) -> int:
        """Return the seed of a candidate: the one that its last training has for this seed."""
        trained = [step.step.seed_of(seed) for step in self.chain if step.recipe is not None]
        return trained[-1] if trained else 0
