"""From a spec to candidates, the distinct stages they need, and packs. Pure: no Ray, no I/O."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TypeVar

from kd_models.data import DatasetRow, resolve_class
from orchestrator.planning.axes import check_axes
from orchestrator.planning.pack import MOST_IN_A_PACK, Pack, evenly
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Candidate, Stage, StepWithRecipe

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
            step = stage.step_with_recipe
            if id(step) not in numbers:
                numbers[id(step)] = known.setdefault(step.lane_group, len(known))
            alike = (stage.method, stage.dataset, stage.image_size, numbers[id(step)])
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


def make_plan(
    spec: SweepSpec, facts: Mapping[str, DatasetFacts], pretrained_sha256: str | None = None
) -> Plan:
    """Expand a spec into candidates and the distinct stages behind them.

    Two candidates that would train the very same student (they differ only in weights of losses
    that their structure does not use) are one candidate.

    Args:
        spec: the sweep.
        facts: by dataset name, for every dataset of the spec.
        pretrained_sha256: of the pretrained weights, if the method asks for any.

    Raises:
        SpecError: ``normal_classes`` lacks a dataset, or an axis of the method cannot be used.
        DataError: a dataset does not have a normal class.
    """
    stages: dict[str, Stage] = {}
    candidates: dict[str, Candidate] = {}
    # Many candidates need the same stage, and making and hashing one takes time. So equal steps
    # become one object, and a stage that was made is found by the id of its step.
    same: dict[StepWithRecipe, StepWithRecipe] = {}
    known: dict[tuple[object, ...], str] = {}
    for dataset in dict.fromkeys(spec.datasets):
        fact = facts[dataset]
        wanted = spec.classes_of(dataset, tuple(fact.row.classes))
        classes = dict.fromkeys(resolve_class(fact.row, name) for name in wanted)
        variants = [
            (
                variant,
                [same.setdefault(s, s) for s in (StepWithRecipe(*each) for each in variant.steps)],
            )
            for variant in spec.settings.variants(fact.row, pretrained_sha256)
        ]
        for variant, chain in variants:
            check_axes(spec.method, variant.axes, chain[-1].step)
        for normal_class, (variant, chain), seed in product(classes, variants, spec.seeds):
            keys: list[str] = []
            for step in chain:
                wish = (dataset, normal_class, variant.image_size, id(step), seed, *keys)
                if wish not in known:
                    stage = Stage(
                        method=spec.method,
                        dataset=fact.row.name,
                        normal_class=normal_class,
                        image_size=variant.image_size,
                        step_with_recipe=step,
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
