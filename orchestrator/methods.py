"""The methods of a sweep: what each may vary, and the training steps behind every combination."""

import os
from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kd_models.data import DatasetRow
from kd_models.eca_mkdad import (
    SCORING_LAYERS,
    TRAINING_LAYERS,
    DistilConfig,
    Layers,
    Precision,
    StudentConfig,
    check_layers,
    paper_settings,
)
from kd_models.losses import Distance
from kd_models.networks.gan import IMAGE_SIZE, Normalisation
from kd_models.networks.vgg import SMALLEST_IMAGE, StudentWidth
from kd_models.networks.vgg_weights import IMAGENET
from kd_models.objectives import DistillationWeights, GanWeights
from kd_models.pkdgan import TEACHER_WIDTHS, NetworkConfig, StepConfig, Widths
from kd_models.placements import placement
from kd_models.recipe import Fraction, Recipe
from kd_models.structures import TEACHER, Structure, Term, chain
from kd_models.values import Value
from orchestrator.spec import Count, SweepSpec, Variant


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


class PkdganSpec(SweepSpec):
    """Structures x student widths x loss weights (P-KDGAN, IJCAI 2020)."""

    method: Literal["pkdgan"] = "pkdgan"
    structures: Annotated[tuple[str, ...], Field(min_length=1)]
    student_widths: Literal["paper"] | Annotated[tuple[Widths, ...], Field(min_length=1)] = "paper"
    loss_weights: Annotated[tuple[LossWeights, ...], Field(min_length=1)] = (LossWeights(),)
    training: Recipe = Recipe()
    teacher: TeacherSpec = TeacherSpec()
    normalisation: Normalisation = "batch"
    distance: Distance = "l2"

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

    @field_validator("structures")
    @classmethod
    def _known_structures(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            chain(name)
        return names

    def batch_sizes(self) -> Mapping[str, int]:
        return {
            "training.batch_size": self.training.batch_size,
            "teacher.training.batch_size": self.teacher.training.batch_size,
        }

    def variants(self, row: DatasetRow, pretrained: str) -> Iterator[Variant]:
        all_widths = (
            (row.student_widths,) if self.student_widths == "paper" else self.student_widths
        )
        for name, widths, weights in product(self.structures, all_widths, self.loss_weights):
            yield Variant(
                axes={
                    "structure": name,
                    "student_widths": list(widths),
                    "loss_weights": weights.model_dump(),
                },
                image_size=IMAGE_SIZE,
                steps=tuple(
                    (
                        self._step(step, row.channels, widths, weights),
                        self.teacher.training if step is TEACHER else self.training,
                    )
                    for step in _chain_with_teacher(name)
                ),
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
            joint_teacher=self.teacher.joint and step.distils and step.trains_teacher,
        )


def _chain_with_teacher(name: str) -> tuple[Structure, ...]:
    steps = chain(name)
    return (TEACHER, *steps) if any(step.distils for step in steps) else steps


class DistilTraining(Value):
    """How students of ECA_MKDAD are trained; see Recipe.

    The paper gives Adam with lr 0.1 and batch 32 and names no schedule. Without the decay AUROC
    swings from epoch to epoch (docs/lab-notes.md), so the cosine is the default.
    """

    epochs: Literal["paper"] | Count = "paper"
    """paper: 100, 300 or 500, by dataset"""
    batch_size: Count = 32
    lr: Annotated[float, Field(gt=0)] = 0.1
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Literal["cosine", "constant"] = "cosine"

    def recipe(self, paper_epochs: int) -> Recipe:
        epochs = paper_epochs if self.epochs == "paper" else self.epochs
        return Recipe.model_validate({**self.model_dump(), "epochs": epochs})


class PretrainedSpec(Value):
    """The fixed teacher: VGG16, trained on ImageNet by others."""

    weights: str = Field(
        default_factory=lambda: os.environ.get("KD_VGG16_WEIGHTS") or IMAGENET, min_length=1
    )
    """imagenet1k_v1 (torchvision's), random, or the path or URI of a state dict"""
    precision: Precision = "float32"
    """of what it says of the training images; float16 halves the memory"""


class EcaMkdadSpec(SweepSpec):
    """Placements x lambda x student widths (ECA_MKDAD, 2023)."""

    method: Literal["eca_mkdad"]
    placements: Annotated[tuple[str, ...], Field(min_length=1)] = ("eca",)
    lambdas: (
        Literal["paper"] | Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    ) = "paper"
    """weights of the direction in Eq. 13; paper: 0.1 for mvtec, 0.01 else"""
    student_widths: Annotated[tuple[StudentWidth, ...], Field(min_length=1)] = ("lightweight",)
    training_layers: Layers = TRAINING_LAYERS
    scoring_layers: Layers = SCORING_LAYERS
    image_size: Literal["paper"] | Annotated[int, Field(ge=SMALLEST_IMAGE)] = "paper"
    """pixels a side; paper: 128 for mvtec, 96 for stl10, 32 else"""
    training: DistilTraining = DistilTraining()
    teacher: PretrainedSpec = Field(default_factory=PretrainedSpec)

    @property
    def pretrained(self) -> str:
        return self.teacher.weights

    @field_validator("placements")
    @classmethod
    def _known_placements(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            placement(name)
        return names

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        for width in self.student_widths:
            check_layers(self.training_layers, self.scoring_layers, width)
        return self

    def batch_sizes(self) -> Mapping[str, int]:
        return {"training.batch_size": self.training.batch_size}

    def variants(self, row: DatasetRow, pretrained: str) -> Iterator[Variant]:
        paper = paper_settings(row.name)
        lambdas = (paper.lambda_,) if self.lambdas == "paper" else self.lambdas
        recipe = self.training.recipe(paper.epochs)
        for name, width, lambda_ in product(self.placements, self.student_widths, lambdas):
            step = DistilConfig(
                student=StudentConfig(placement=name, width=width),
                lambda_=lambda_,
                training_layers=self.training_layers,
                scoring_layers=self.scoring_layers,
                teacher=pretrained,
                precision=self.teacher.precision,
            )
            yield Variant(
                axes={"placement": name, "student_width": width, "lambda": lambda_},
                image_size=row.image_size if self.image_size == "paper" else self.image_size,
                steps=((step, recipe),),
            )


METHODS: Mapping[str, type[SweepSpec]] = MappingProxyType(
    {"pkdgan": PkdganSpec, "eca_mkdad": EcaMkdadSpec}
)
"""The spec of a sweep by its ``method``; the first is the default."""
