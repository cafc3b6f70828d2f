"""P-KDGAN's part of a sweep file: structures x student widths x loss weights."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from kd_models.data import DatasetRow
from kd_models.methods.base import MethodSettings, Step, Variant
from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.named_recipes import RecipeName, with_recipe
from kd_models.methods.networks import IMAGE_SIZE, WIDE, Normalisation, Widths
from kd_models.methods.pkdgan.calibration import CalibrationStep
from kd_models.methods.pkdgan.objectives import DistillationWeights, GanWeights
from kd_models.methods.pkdgan.scores import Score
from kd_models.methods.pkdgan.step import StepConfig
from kd_models.methods.pkdgan.structures import ALONE, TEACHER, Structure, Term, chain
from kd_models.methods.prototypes import PrototypeSettings
from kd_models.recipe import Recipe
from kd_models.values import Value

_COLOUR_WIDTHS: Widths = (8, 16, 64)
_PAPER_WIDTHS: Mapping[str, Widths] = MappingProxyType(
    {"digits": (2, 4, 8), "mnist": (2, 4, 8), "fmnist": (1, 2, 4)}
)


def paper_widths(dataset: str) -> Widths:
    """Return the student's widths for a dataset by name (Section 4.1).

    Those for colour images for a dataset that the paper has not.
    """
    return _PAPER_WIDTHS.get(dataset, _COLOUR_WIDTHS)


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "recommended": {},
        # Section 4. At batch 1 only per-image statistics can be scored (docs/adr/0002).
        "paper": {
            "training": {"epochs": 500, "batch_size": 1, "lr": 0.002, "schedule": "constant"},
            "normalisation": "per-image",
            "distance": "l2",
            "scores": ("paper",),
        },
    }
)


class LossWeights(GanWeights, DistillationWeights):
    """Weights of the student's losses: con, enc, adv (L_g) and k1, kx, k2 (K_l)."""

    @property
    def gan(self) -> GanWeights:
        """Return the weights of L_g."""
        return GanWeights(con=self.con, enc=self.enc, adv=self.adv)

    @property
    def distillation(self) -> DistillationWeights:
        """Return the weights of K_l."""
        return DistillationWeights(k1=self.k1, kx=self.kx, k2=self.k2)


class TeacherSettings(Value):
    """The teachers, one for each dataset, normal class and seed."""

    widths: Widths = WIDE
    loss_weights: GanWeights = GanWeights()
    training: Recipe = Recipe()
    """what is not set here is as in the sweep's own ``training``"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """of one teacher for all seeds of students; null: each student's seed is its teacher's too"""
    joint: bool = False
    """whether K_l also trains a teacher that keeps training"""


class PkdganSettings(MethodSettings):
    """Structures x student widths x loss weights x scores (P-KDGAN, IJCAI 2020)."""

    recipe: RecipeName = "recommended"
    """what is set where nothing else is"""
    structures: Annotated[tuple[str, ...], Field(min_length=1)]
    student_widths: Literal["paper"] | Annotated[tuple[Widths, ...], Field(min_length=1)] = "paper"
    loss_weights: Annotated[tuple[LossWeights, ...], Field(min_length=1)] = (LossWeights(),)
    training: Recipe = Recipe()
    second_step: Recipe = Recipe()
    """of the second step of P-KDGAN; what is not set here is as in ``training``, but for the rate
    by the recommended recipe: a tenth of it. At the full rate P-KDGAN-23 loses (docs/results.md)"""
    teacher: TeacherSettings = TeacherSettings()
    normalisation: Normalisation = "batch"
    distance: Distance = "l2"
    scores: Annotated[tuple[Score, ...], Field(min_length=1)] = ("paper", "calibrated")
    """how the trained networks score images; none of them trains anything again"""
    calibration: PrototypeSettings = PrototypeSettings()
    """how the calibrated score is fitted"""

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, raw: Any) -> Any:
        """Fill in the named recipe, and what other steps have from ``training``."""
        raw = with_recipe(raw, RECIPES)
        if not isinstance(raw, dict) or not isinstance(raw.get("training", {}), dict):
            return raw
        training, teacher = raw.get("training", {}), raw.get("teacher", {})
        if isinstance(second := raw.get("second_step", {}), dict):
            inherited = dict(training)
            rate = inherited.get("lr", Recipe().lr)
            if raw.get("recipe") != "paper" and isinstance(rate, int | float):
                inherited["lr"] = rate / 10
            raw = {**raw, "second_step": {**inherited, **second}}
        if isinstance(teacher, dict) and isinstance(own := teacher.get("training", {}), dict):
            raw = {**raw, "teacher": {**teacher, "training": {**training, **own}}}
        return raw

    @field_validator("structures")
    @classmethod
    def _known_structures(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            chain(name)
        return names

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch sizes of students and teachers, and of a second step if there is one."""
        sizes = {
            "training.batch_size": self.training.batch_size,
            "teacher.training.batch_size": self.teacher.training.batch_size,
        }
        if any(len(chain(name)) > 1 for name in self.structures):
            sizes["second_step.batch_size"] = self.second_step.batch_size
        return sizes

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each structure, widths and loss weights."""
        all_widths = self.student_widths
        if all_widths == "paper":
            all_widths = (paper_widths(dataset.name),)
        for name, widths, weights in product(self.structures, all_widths, self.loss_weights):
            axes: dict[str, Any] = {"structure": name}
            if name != TEACHER.name:  # it has its own
                axes |= {"student_widths": list(widths), "loss_weights": weights.model_dump()}
            steps = [
                (self._step(step, dataset.channels, widths, weights), self._recipe(place, step))
                for place, step in enumerate(_chain_with_teacher(name))
            ]
            for score in self.scores:
                chain: list[tuple[Step, Recipe | None]] = [*steps]
                if score == "calibrated":
                    chain.append((self._calibration(name, steps[-1][0], images), None))
                own = {**axes, "score": score}
                is_taught = any(step.distils for step in _chain_with_teacher(name))
                alone = {**own, "structure": ALONE.name} if is_taught else None
                yield Variant(own, IMAGE_SIZE, tuple(chain), alone)

    def _recipe(self, place: int, step: Structure) -> Recipe:
        """Return the recipe of the step at a place in its chain."""
        if step is TEACHER:
            return self.teacher.training
        return self.training if place < 2 else self.second_step

    def _calibration(self, structure: str, last: StepConfig, images: int | None) -> CalibrationStep:
        network = last.student if last.kind == "student" else last.teacher
        assert network is not None
        return CalibrationStep(
            structure=structure,
            role=last.kind,
            network=network,
            calibration=self.calibration.of(images),
        )

    def _step(
        self, step: Structure, channels: int, widths: Widths, weights: LossWeights
    ) -> StepConfig:
        teacher = NetworkConfig(
            channels=channels, widths=self.teacher.widths, normalisation=self.normalisation
        )
        student = teacher.model_copy(update={"widths": widths})
        return StepConfig(
            structure=step.name,
            teacher=teacher if step.distils or step.trains_teacher else None,
            student=student if step.trains_student else None,
            teacher_weights=self.teacher.loss_weights if step.trains_teacher else None,
            student_weights=weights.gan if Term.LG_S in step.terms else None,
            distillation_weights=weights.distillation if step.distils else None,
            distance=self.distance,
            own_seed=self.teacher.seed if step is TEACHER else None,
            joint_teacher=self.teacher.joint and step.distils and step.trains_teacher,
        )


def _chain_with_teacher(name: str) -> tuple[Structure, ...]:
    steps = chain(name)
    return (TEACHER, *steps) if any(step.distils for step in steps) else steps
