"""The sweep file: what may be swept and how, checked before anything starts.

YAML is only its spelling; ``SweepSpec`` is the thing.
"""

import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from kd_models.data import dataset_row
from kd_models.losses import Distance
from kd_models.networks.gan import Normalisation
from kd_models.objectives import DistillationWeights, GanWeights
from kd_models.pkdgan import TEACHER_WIDTHS, Widths
from kd_models.protocol import Protocol
from kd_models.recipe import Recipe
from kd_models.structures import chain
from kd_models.values import Value, nearest
from orchestrator.errors import UserError

Count = Annotated[int, Field(ge=1)]
Classes = Annotated[tuple[StrictInt | StrictStr, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class SpecError(UserError):
    """The sweep file cannot be used; the message names file, setting and what was expected."""


class LossWeights(GanWeights, DistillationWeights):
    """Weights of the student's losses: con, enc, adv (L_g) and k1, kx, k2 (K_l)."""

    @property
    def gan(self) -> GanWeights:
        return GanWeights(con=self.con, enc=self.enc, adv=self.adv)

    @property
    def distillation(self) -> DistillationWeights:
        return DistillationWeights(k1=self.k1, kx=self.kx, k2=self.k2)


class TeacherSpec(Value):
    """The teachers, one for each dataset, normal class and seed."""

    widths: Widths = TEACHER_WIDTHS
    loss_weights: GanWeights = GanWeights()
    training: Recipe = Recipe()
    """what is not set here is as in the sweep's own ``training``"""
    joint: bool = False
    """whether K_l also trains a teacher that keeps training"""


class EvaluationSpec(Value):
    """How students are judged. None of it changes what is trained."""

    protocol: Protocol = "holdout"
    every: Count = 1
    """epochs between AUROCs; the last epoch always gets one"""


class Resources(Value):
    """Where stages are trained. None of it changes what is trained."""

    workers: Count = 1
    """DDP processes for each trial"""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    """whole GPUs: NCCL refuses two workers on one"""
    concurrent_trials: Count | Literal["auto"] = "auto"
    """auto: as many as the cluster's CPUs and GPUs hold"""
    retries: Annotated[int, Field(ge=0)] = 2
    """restarts of a trial whose worker died, from its last checkpoint"""
    checkpoint_every: Count = 10
    """epochs between checkpoints"""


def _home() -> str:
    return os.environ.get("KD_HOME", "~/kd-sweeps")


class StorageSpec(Value):
    """Where results live. ``root`` is $KD_HOME, or ~/kd-sweeps; the rest is below it unless set.

    On a cluster of several machines every one of them must see ``root``.
    """

    root: str = Field(default_factory=_home)
    store: str | None = None
    """finished stages, found by key by every sweep that uses the same store"""
    data: str | None = None
    """datasets are downloaded to and read from here"""
    tracking_uri: str | None = None
    """MLflow: an http(s) server or a database; default $MLFLOW_TRACKING_URI, or a SQLite file"""

    @property
    def root_path(self) -> Path:
        return Path(self.root).expanduser()

    @property
    def store_path(self) -> Path:
        return Path(self.store).expanduser() if self.store else self.root_path / "store"

    @property
    def data_path(self) -> Path:
        return Path(self.data).expanduser() if self.data else self.root_path / "data"

    @property
    def ray_path(self) -> Path:
        return self.root_path / "ray"

    @property
    def mlflow_uri(self) -> str:
        configured = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return configured or f"sqlite:///{self.root_path.absolute() / 'mlflow.db'}"

    @model_validator(mode="after")
    def _outlives_the_job(self) -> Self:
        # Ray unpacks a job's working directory below its session folder and deletes it later.
        here = str(Path.cwd())
        if "runtime_resources/working_dir_files" in here:
            places = {"root": self.root_path, "store": self.store_path}
            if self.mlflow_uri.startswith("sqlite:///"):
                places["tracking_uri"] = Path(self.mlflow_uri.removeprefix("sqlite:///"))
            for name, path in places.items():
                if not path.is_absolute():
                    raise ValueError(
                        f"{name} is {str(path)!r}, relative to a Ray job's working directory, "
                        "which is deleted with the job; give an absolute path"
                    )
        return self


class SweepSpec(Value):
    """Datasets x normal classes x structures x loss weights x widths x seeds."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """also the MLflow experiment and the first part of registered names"""
    method: Literal["pkdgan"] = "pkdgan"
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    normal_classes: Literal["all"] | Classes | Mapping[str, Literal["all"] | Classes] = "all"
    """``all``, a list for every dataset, or a mapping from dataset to either"""
    structures: Annotated[tuple[str, ...], Field(min_length=1)]
    student_widths: Literal["paper"] | Annotated[tuple[Widths, ...], Field(min_length=1)] = "paper"
    loss_weights: Annotated[tuple[LossWeights, ...], Field(min_length=1)] = (LossWeights(),)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    training: Recipe = Recipe()
    teacher: TeacherSpec = TeacherSpec()
    normalisation: Normalisation = "batch"
    distance: Distance = "mse"
    unreadable_images: Literal["stop", "skip"] = "stop"
    evaluation: EvaluationSpec = EvaluationSpec()
    resources: Resources = Resources()
    storage: StorageSpec = Field(default_factory=StorageSpec)

    @model_validator(mode="before")
    @classmethod
    def _teacher_inherits_training(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        training, teacher = raw.get("training", {}), raw.get("teacher", {})
        if not (isinstance(training, dict) and isinstance(teacher, dict)):
            return raw
        own = teacher.get("training", {})
        if not isinstance(own, dict):
            return raw
        return {**raw, "teacher": {**teacher, "training": {**training, **own}}}

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            dataset_row(name)
        return names

    @field_validator("structures")
    @classmethod
    def _known_structures(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            chain(name)
        return names

    @model_validator(mode="after")
    def _workers_share_batches(self) -> Self:
        for where, recipe in (
            ("training", self.training),
            ("teacher.training", self.teacher.training),
        ):
            if recipe.batch_size < self.resources.workers:
                raise ValueError(
                    f"{where}.batch_size is {recipe.batch_size}: "
                    f"{self.resources.workers} resources.workers cannot share it"
                )
        return self

    def classes_of(self, dataset: str, available: Sequence[str]) -> Sequence[str | int]:
        """Return the normal classes the file asks for, unresolved, given all there are."""
        wanted = self.normal_classes
        if isinstance(wanted, Mapping):
            if dataset not in wanted:
                raise SpecError(
                    f"normal_classes has no entry for dataset {dataset}; "
                    f"it has {', '.join(wanted)}{nearest(dataset, wanted)}"
                )
            wanted = wanted[dataset]
        return available if wanted == "all" else wanted


def read_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file, with ``key.sub=value`` overrides applied on top.

    Raises:
        SpecError: no such file, no YAML mapping, or a setting that does not exist or fit.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: is not YAML ({error})") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected settings (name: ..., datasets: ...), found {raw!r}")
    for override in overrides:
        _apply(raw, override)
    try:
        return SweepSpec.model_validate(raw)
    except ValidationError as error:
        lines = dict.fromkeys(explain(SweepSpec, e) for e in error.errors())
        # What is wrong with training is wrong with what teachers inherit of it: say it once.
        inherited = {f"teacher.{line}" for line in lines}
        said = [f"{path}: {line}" for line in lines if line not in inherited]
        raise SpecError("\n".join(said)) from None


def _apply(raw: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise SpecError(f"--set {override}: expected key=value, such as training.epochs=3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError(f"--set {override}: {value!r} is not a YAML value") from None
    for key in keys[:-1]:
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise SpecError(f"--set {override}: {key} is a value, not a group of settings")
    raw[keys[-1]] = parsed


def explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    """Put one pydantic error of ``model`` into words: the setting, what is wrong, what is near."""
    location = [part for part in error["loc"] if not _is_union_branch(part)]
    where = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        valid = _settings_at(model, location[:-1])
        return (
            f"{where} is not a setting{nearest(location[-1], valid)} (there are {', '.join(valid)})"
        )
    if error["type"] == "missing":
        return f"{where} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if not where:
        return message
    expected = str(error.get("ctx", {}).get("expected", ""))
    options = [option.strip(" '") for option in expected.replace(" or ", ",").split(",")]
    return f"{where}: {message}, not {error['input']!r}{nearest(error['input'], options)}"


def _is_union_branch(part: object) -> bool:
    return isinstance(part, str) and (
        "[" in part or part.startswith("constrained-") or part in ("int", "str", "float")
    )


def _settings_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model), None)
