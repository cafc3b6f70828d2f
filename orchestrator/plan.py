"""From a spec to candidates, the distinct stages they need, and packs. Pure: no Ray, no I/O."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

from kd_models.data import DatasetRow, resolve_class
from kd_models.eca_mkdad import DistilConfig
from kd_models.names import together
from kd_models.pkdgan import StepConfig
from kd_models.recipe import Recipe
from kd_models.step import Step
from kd_models.values import Value, spell
from orchestrator.keys import SCHEMA, canonical_json, sha256
from orchestrator.spec import SweepSpec

T = TypeVar("T")


class StageConfig(Value):
    """The result-bearing settings of a stage, defaults included."""

    method: str
    dataset: str
    normal_class: str
    image_size: int
    step: StepConfig | DistilConfig
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Stage:
    """One training run in a candidate's chain."""

    config: StageConfig
    fingerprint: str
    """of the dataset's content"""
    parents: tuple[str, ...]
    """keys of the stages whose networks it starts from or learns from, oldest first"""

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is the hash of. Where a folder dataset lies is not part of it."""
        config = self.config.model_dump(mode="json")
        config["dataset"] = config["dataset"].partition(":")[0]
        return {
            "schema": SCHEMA,
            "config": config,
            "fingerprint": self.fingerprint,
            "parents": list(self.parents),
        }

    @cached_property
    def key(self) -> str:
        # canonical_json(self.identity), put together from parts that many stages share: of a
        # hundred thousand stages that is a third of the time to plan them.
        config = self.config
        own = {
            "dataset": canonical_json(config.dataset.partition(":")[0]),
            "image_size": str(config.image_size),
            "method": canonical_json(config.method),
            "normal_class": canonical_json(config.normal_class),
            "recipe": _text_of(config.recipe),
            "seed": str(config.seed),
            "step": _text_of(config.step),
        }
        whole = {
            "config": _joined(own),
            "fingerprint": canonical_json(self.fingerprint),
            "parents": canonical_json(list(self.parents)),
            "schema": str(SCHEMA),
        }
        return sha256(_joined(whole))

    @property
    def kind(self) -> str:
        """``teacher`` or ``student``."""
        return self.config.step.kind

    @property
    def title(self) -> str:
        """A short name for tables and logs, not unique over seeds, widths and weights."""
        second = " (second step)" if len(self.parents) > 1 else ""
        names = together(self.config.dataset, self.config.normal_class)
        return f"{names} {self.config.step.name}{second}"


_TEXTS: dict[int, tuple[Value, str]] = {}


def _text_of(value: Value) -> str:
    """Return the canonical JSON of a value, made once for one object."""
    known = _TEXTS.get(id(value))
    if known is None:  # kept with its text, so that its id stays its own
        known = _TEXTS[id(value)] = (value, canonical_json(value.model_dump(mode="json")))
    return known[1]


def _joined(texts: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}"


@dataclass(frozen=True)
class Candidate:
    """One student somebody may want."""

    dataset: str
    normal_class: str
    normal_class_name: str
    """as people call it"""
    method: str
    axes: Mapping[str, Any]
    """of the method's own axes, as JSON values by name; the first says most"""
    seed: int
    stages: tuple[str, ...]
    """keys of its chain, the student itself last"""
    depth: int | None = None
    """bits in use of its training images that have 16 a sample; None where none has"""

    @property
    def key(self) -> str:
        """The key of the stage that is the student."""
        return self.stages[-1]

    def name(self) -> str:
        """Say all of its axes in one line."""
        axes = " ".join(map(spell, self.axes.values()))
        return f"{together(self.dataset, self.normal_class)} {axes} seed {self.seed}"


MOST_IN_A_PACK = 64
"""at 48 lanes, the most that was measured, little more is gained (docs/benchmarks.md), while what
is lost with a machine grows"""


@dataclass(frozen=True)
class Pack:
    """Stages of one shape that one trial trains, as lanes of one or one after another."""

    stages: tuple[Stage, ...]
    """those that are left to train"""
    whole: tuple[str, ...] = ()
    """keys of all, with those that are trained already; empty where there are none"""

    @property
    def key(self) -> str:
        """The same whatever is left to train, so that an unfinished run is found again."""
        keys = list(self.whole) or [stage.key for stage in self.stages]
        return keys[0] if len(keys) == 1 else sha256(canonical_json(keys))

    @property
    def parents(self) -> frozenset[str]:
        return frozenset(parent for stage in self.stages for parent in stage.parents)


def evenly(things: Sequence[T], parts: int) -> Iterator[Sequence[T]]:
    """Split into so many parts, all nearly equal."""
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
        """Candidates by the key of the stage that is the student."""
        return {candidate.key: candidate for candidate in self.candidates}

    @property
    def stages_by_kind(self) -> dict[str, int]:
        counts = Counter(stage.kind for stage in self.stages.values())
        return {kind: counts[kind] for kind in ("teacher", "student")}

    @property
    def stages_by_step(self) -> dict[str, int]:
        return dict(Counter(stage.config.step.name for stage in self.stages.values()))

    @property
    def stages_without_sharing(self) -> dict[str, int]:
        """What training every candidate on its own would take."""
        kinds = Counter(
            self.stages[key].kind for candidate in self.candidates for key in candidate.stages
        )
        return {kind: kinds[kind] for kind in ("teacher", "student")}

    def epochs(self, finished: frozenset[str] = frozenset()) -> int:
        """Epochs to train when the stages ``finished`` are in the store."""
        return sum(s.config.recipe.epochs for k, s in self.stages.items() if k not in finished)

    @property
    def epochs_without_sharing(self) -> int:
        return sum(
            self.stages[key].config.recipe.epochs
            for candidate in self.candidates
            for key in candidate.stages
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
                left = tuple(stage for stage in part if stage.key not in finished)
                if left:
                    packs.append(Pack(left, tuple(stage.key for stage in part)))
        return tuple(packs)

    def _groups(self) -> Mapping[tuple[int, object], list[Stage]]:
        """Stages by their number of parents and all else that stages of a pack have in common."""
        groups: dict[tuple[int, object], list[Stage]] = {}
        # A step is one object for all its stages (make_plan), and its shape takes long to make.
        shapes: dict[tuple[int, int], int] = {}
        numbers: dict[tuple[Step, Recipe], int] = {}
        for stage in self.stages.values():
            config = stage.config
            same = (id(config.step), id(config.recipe))
            if same not in shapes:
                shape = (config.step.shape, config.recipe)
                shapes[same] = numbers.setdefault(shape, len(numbers))
            shared = (config.method, config.dataset, config.image_size, shapes[same])
            groups.setdefault((len(stage.parents), shared), []).append(stage)
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
        return (self.class_fingerprints or {}).get(normal_class, self.fingerprint)


def make_plan(spec: SweepSpec, facts: Mapping[str, DatasetFacts], pretrained: str = "") -> Plan:
    """Expand a spec into candidates and the distinct stages behind them.

    Two candidates that would train the very same student (they differ only in weights of losses
    that their structure does not use) are one candidate.

    Args:
        facts: by dataset name, for every dataset of the spec.
        pretrained: SHA-256 of the pretrained teacher's weights, if the method has one.

    Raises:
        SpecError, DataError: a normal class that a dataset does not have.
    """
    stages: dict[str, Stage] = {}
    candidates: dict[str, Candidate] = {}
    # Most stages are asked for by many candidates. To make one, and hash it, is what takes time:
    # equal steps are made the same object, and a stage is found by that.
    same: dict[tuple[Step, Recipe], tuple[Step, Recipe]] = {}
    known: dict[tuple[object, ...], str] = {}
    for dataset in dict.fromkeys(spec.datasets):
        fact = facts[dataset]
        wanted = spec.classes_of(dataset, tuple(fact.row.classes))
        classes = dict.fromkeys(resolve_class(fact.row, name) for name in wanted)
        variants = [
            (variant, [same.setdefault(step, step) for step in variant.steps])
            for variant in spec.variants(fact.row, pretrained)
        ]
        for normal_class, (variant, steps), seed in product(classes, variants, spec.seeds):
            keys: list[str] = []
            for trained in steps:
                wish = (dataset, normal_class, variant.image_size, id(trained), seed, *keys)
                if wish in known:
                    keys.append(known[wish])
                    continue
                step, recipe = trained
                config = StageConfig(
                    method=spec.method,
                    dataset=fact.row.name,
                    normal_class=normal_class,
                    image_size=variant.image_size,
                    step=step,
                    recipe=recipe,
                    seed=seed,
                )
                stage = Stage(config, fact.fingerprint_of(normal_class), tuple(keys))
                stages.setdefault(stage.key, stage)
                known[wish] = stage.key
                keys.append(stage.key)
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
