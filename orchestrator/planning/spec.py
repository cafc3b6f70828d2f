"""The settings that every sweep has, whatever its method; checked before anything starts."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticOmit

from kd_models.data import dataset_row
from kd_models.evaluation.protocol import EvaluationProtocol
from kd_models.methods.base import MethodSettings
from kd_models.methods.registry import method_of, methods
from kd_models.values import Count, Value, look_up, nearest
from kd_score.names import encodable, printable
from kd_score.read_image import MAX_MEGAPIXELS
from orchestrator.errors import UserError
from orchestrator.planning.bucket_data import is_in_bucket
from orchestrator.planning.storage import StorageSpec

Classes = Annotated[tuple[StrictInt | StrictStr, ...], Field(min_length=1)]
NormalClasses = Literal["all"] | Classes | Mapping[str, Literal["all"] | Classes]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class SpecError(UserError):
    """The sweep file cannot be used; the message names file, setting and what was expected."""


class EvaluationSpec(Value):
    """How students are evaluated. None of it changes what is trained."""

    protocol: EvaluationProtocol = "holdout"
    every: Count = 1
    """epochs between AUROCs; the last epoch always gets one"""


class Resources(Value):
    """Where stages are trained. None of it changes what is trained."""

    workers: Count = 1
    """DDP processes for each trial"""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """whole ones, or the part of one that a trial of one worker takes, so that several share it"""
    concurrent_trials: Count | Literal["auto"] = "auto"
    """auto: as many as the cluster's CPUs and GPUs hold"""
    scale_up_minutes: Annotated[float, Field(ge=0)] | None = None
    """how long a cluster is waited for to grow until it holds a trial; null: 15 minutes where Ray
    says how far the cluster may grow, and not at all elsewhere"""
    lanes: Count | Literal["auto"] = "auto"
    """stages of one shape that a trial trains at once, as lanes of one network; auto: as many as
    there is memory for and a short measurement finds fastest"""
    reuse_trials: bool = True
    """whether a trial goes on to the next pack that is ready, rather than each in new processes"""
    retries: Annotated[int, Field(ge=0)] = 2
    """how often a stage whose process or machine died is trained on, from its last checkpoint"""
    checkpoint_every: Count = 10
    """epochs between checkpoints"""
    teacher_cache_gib: Annotated[float, Field(ge=0)] = 4
    """memory in GiB (of the GPU, where there is one) that each worker may use to keep a pretrained
    teacher's outputs for the images; a teacher whose outputs need more runs in every step again"""

    @model_validator(mode="after")
    def _gpus_can_be_had(self) -> Self:
        gpus = self.gpus_per_worker
        if gpus > 1 and gpus % 1:
            raise ValueError(
                f"gpus_per_worker is {gpus:g}, but a worker trains on one GPU: set it to 1, or to "
                "a part of one"
            )
        if self.workers > 1 and gpus % 1:
            raise ValueError(
                f"gpus_per_worker is {gpus:g} and workers {self.workers}, but NCCL refuses two "
                "workers on one GPU: set gpus_per_worker to 1, or workers to 1"
            )
        return self


def _printable(names: Any) -> Any:
    """Return names in a spelling that every database takes, and that means the same here."""
    if isinstance(names, Mapping):
        return {_printable(name): _printable(part) for name, part in names.items()}
    if isinstance(names, tuple):
        return tuple(map(_printable, names))
    is_stored = not isinstance(names, str) or encodable(names) == names
    return names if is_stored else printable(names)


def _counted(seeds: Any) -> Any:
    """Return the seeds 0, 1, ... where it is said how many they are."""
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        return seeds
    if not 1 <= seeds <= _MOST_SEEDS:
        raise ValueError(
            f"expected how many seeds (from 1 to {_MOST_SEEDS}) or a list of them, not {seeds}; "
            f"one seed is a list: [{max(seeds, 0)}]"
        )
    return tuple(range(seeds))


_MOST_SEEDS = 10_000

Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), BeforeValidator(_counted)]
"""a list, or how many"""


def frozen(raw: Any) -> Any:
    """Return raw settings with tuples for lists, which is what values hold."""
    if isinstance(raw, dict):
        return {name: frozen(part) for name, part in raw.items()}
    return tuple(map(frozen, raw)) if isinstance(raw, list | tuple) else raw


class MethodSpec(Value):
    """One of a sweep's methods. In a sweep file its settings stand beside its name."""

    method: str
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)] | None = (
        None
    )
    """what its students are called where a sweep has several entries of one method"""
    normal_classes: NormalClasses | None = None
    """null: those of the sweep"""
    seeds: Seeds | None = None
    """null: those of the sweep"""
    settings: SerializeAsAny[MethodSettings]
    """the method's own"""

    @model_validator(mode="before")
    @classmethod
    def _composed(cls, raw: Any) -> Any:
        """Move the method's own settings into ``settings``."""
        if not isinstance(raw, dict) or isinstance(raw.get("settings"), MethodSettings):
            return raw
        raw = {"method": default_method(), **raw}
        own = {name: part for name, part in raw.items() if name in cls.own_settings()}
        return {**own, "settings": {n: part for n, part in raw.items() if n not in own}}

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        taken = method_of(name).settings.model_fields.keys() & {
            *cls.own_settings(),
            *SweepSpec.model_fields,
        }
        if taken:
            raise ValueError(
                f"{name} has a setting {', '.join(sorted(taken))}, which every sweep has; its "
                "package must give it another name"
            )
        return name

    @field_validator("normal_classes", mode="before")
    @classmethod
    def _can_be_stored(cls, names: Any) -> Any:
        return _printable(names)

    @field_validator("settings", mode="wrap")
    @classmethod
    def _of_the_method(cls, raw: Any, handler: Any, info: ValidationInfo) -> MethodSettings:
        if isinstance(raw, MethodSettings):
            return raw
        if "method" not in info.data:  # its own error says so
            raise PydanticOmit
        return method_of(info.data["method"]).settings.model_validate(raw)

    @classmethod
    def own_settings(cls) -> list[str]:
        """Return the settings that a sweep's methods have, whatever they are."""
        return [name for name in cls.model_fields if name != SETTINGS]

    def as_written(self) -> dict[str, Any]:
        """Return all settings, defaults included, as a sweep file has them."""
        own = self.model_dump(mode="json", exclude_none=True)
        settings = own.pop(SETTINGS)
        return {**own, **settings}


SETTINGS = "settings"
"""where a method's own settings are in what is read of a sweep file"""


def default_method() -> str:
    """Return the name of the method that sweep files mean which name none."""
    return next(iter(methods()))


class SweepSpec(Value):
    """Datasets x normal classes x the axes of methods x seeds.

    In the file of a sweep with one method, the method's settings stand beside the sweep's own.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """also the MLflow experiment and the first part of registered names"""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    normal_classes: NormalClasses = "all"
    """``all``, a list for every dataset, or a mapping from dataset to either"""
    seeds: Seeds = (0,)
    baselines: Literal["all"] | tuple[str, ...] = "all"
    """methods that cost next to nothing, planned beside the others to compare them with"""
    unreadable_images: Literal["stop", "skip"] = "stop"
    max_megapixels: Annotated[float, Field(gt=0)] = MAX_MEGAPIXELS
    """larger images cannot be read: a small file may unpack to more than there is memory for"""
    evaluation: EvaluationSpec = EvaluationSpec()
    resources: Resources = Resources()
    storage: StorageSpec = Field(default_factory=StorageSpec)
    methods: Annotated[tuple[MethodSpec, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _composed(cls, raw: Any) -> Any:
        """Make of one method's settings beside the sweep's own a list of methods."""
        if not isinstance(raw, dict):
            return raw
        raw = frozen(raw)
        if "methods" in raw:
            return raw
        own = {name: part for name, part in raw.items() if name in cls.model_fields}
        return {**own, "methods": ({n: part for n, part in raw.items() if n not in own},)}

    def as_written(self) -> dict[str, Any]:
        """Return all settings, defaults included, as a sweep file has them."""
        own = self.model_dump(mode="json", exclude={"methods"})
        methods = [method.as_written() for method in self.methods]
        if len(methods) > 1 or own.keys() & methods[0].keys():
            return {**own, "methods": methods}
        return {**own, **methods[0]}

    @cached_property
    def all_methods(self) -> tuple[MethodSpec, ...]:
        """Return the methods, and after them the baselines that are none of these."""
        there_are = [name for name, method in methods().items() if method.is_baseline]
        wanted = there_are if self.baselines == "all" else self.baselines
        names = [name for name in wanted if name not in {own.method for own in self.methods}]
        return (*self.methods, *(MethodSpec.model_validate({"method": name}) for name in names))

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, names: Literal["all"] | tuple[str, ...]) -> Any:
        for name in names if names != "all" else ():
            look_up(name, {n: m for n, m in methods().items() if m.is_baseline}, "baseline")
        return names

    @field_validator("name")
    @classmethod
    def _is_not_mlflows(cls, name: str) -> str:
        if name.casefold() == "default":
            raise ValueError("is what MLflow calls an experiment of its own; give another name")
        return name

    @field_validator("datasets", "normal_classes", mode="before")
    @classmethod
    def _can_be_stored(cls, names: Any) -> Any:
        return _printable(names)

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not is_in_bucket(name):
                dataset_row(name)
        return names

    @model_validator(mode="after")
    def _workers_share_batches(self) -> Self:
        for method in self.methods:
            for where, batch_size in method.settings.batch_sizes().items():
                if batch_size < self.resources.workers:
                    raise ValueError(
                        f"{where} is {batch_size}: "
                        f"{self.resources.workers} resources.workers cannot share it"
                    )
        return self

    def classes_of(
        self, method: MethodSpec, dataset: str, available: Sequence[str]
    ) -> Sequence[str | int]:
        """Return the normal classes the file asks for, unresolved, given all there are.

        Raises:
            SpecError: ``normal_classes`` is a mapping that lacks the dataset.
        """
        own = method.normal_classes
        wanted = self.normal_classes if own is None else own
        if isinstance(wanted, Mapping):
            if dataset not in wanted:
                raise SpecError(
                    f"normal_classes has no entry for dataset {dataset}; "
                    f"it has {', '.join(wanted)}{nearest(dataset, wanted)}"
                )
            wanted = wanted[dataset]
        return available if wanted == "all" else wanted

    def seeds_of(self, method: MethodSpec) -> tuple[int, ...]:
        """Return the seeds that a method is trained with."""
        return self.seeds if method.seeds is None else method.seeds
