"""ECA_MKDAD (Zhou and Xing 2023): a small student learns VGG16's features of normal images."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import Tensor

from kd_models.evaluation.scoring import Scorer, batch_of, in_batches
from kd_models.methods.base import Detector, Learner, PackContext, Step
from kd_models.methods.eca_mkdad.networks import (
    CHANNELS,
    LAYERS,
    VGG16,
    Student,
    StudentWidth,
    Teacher,
    tap_shapes,
)
from kd_models.methods.eca_mkdad.objectives import FeatureObjective, feature_distances, layer_key
from kd_models.methods.eca_mkdad.placements import placement
from kd_models.methods.objectives import Batch, Objective
from kd_models.values import Value
from kd_models.world import World

log = logging.getLogger(__name__)

Layers = Annotated[
    tuple[int, ...], Field(min_length=1), AfterValidator(lambda layers: tuple(sorted(layers)))
]
"""max-pools from 1 to 5; their order means nothing"""
Precision = Literal["float32", "float16"]

TRAINING_LAYERS, SCORING_LAYERS = (2, 3, 4, 5), (3, 4, 5)
"""Eq. 3 sums four of the five layers; the official MKDAD trains on these and scores by those."""


class StudentConfig(Value):
    """One student network."""

    placement: str
    width: StudentWidth = "lightweight"

    @field_validator("placement")
    @classmethod
    def _known(cls, name: str) -> str:
        return placement(name).name

    def network(self) -> Student:
        """Return the network with initial weights."""
        return Student(placement(self.placement), self.width)


class FeatureScorer(Scorer):
    """Eq. 13 as a score: how far the student's layers are from the teacher's, (B,)."""

    student: Student
    teacher: Teacher
    _lambda: Tensor

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        layers: Sequence[int],
        lambda_: float,
        distilled: Sequence[int] | None = None,
    ) -> None:
        super().__init__(student, teacher)
        self._layers = tuple(layers)
        # A tensor, so that lanes may differ in it.
        self.register_buffer("_lambda", torch.tensor(lambda_), persistent=False)
        self._distilled = self._layers if distilled is None else tuple(distilled)

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,); without ``targets`` the teacher runs."""
        if targets:
            wanted = [targets[layer_key(layer)] for layer in self._layers]
        else:
            of_all = self.teacher(x_BCSS)
            wanted = [of_all[layer - 1] for layer in self._layers]
        maps = self.student(x_BCSS)
        score = x_BCSS.new_zeros(x_BCSS.shape[0])  # len() would be a constant when exported
        for layer, teacher in zip(self._layers, wanted, strict=True):
            value, direction = feature_distances(teacher, maps[layer - 1])
            score = score + value + self._lambda * direction
        return score

    def maps(self, x_BCSS: Tensor) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Return the maps of the distilled layers (Fig. 9), as means over channels.

        Of the student, of the teacher, and of their absolute difference.
        """
        student, teacher = self.student(x_BCSS), self.teacher(x_BCSS)
        pairs = {layer: (student[layer - 1], teacher[layer - 1]) for layer in self._distilled}
        return {
            layer: (s.mean(1), t.mean(1), (s - t).abs().mean(1)) for layer, (s, t) in pairs.items()
        }


class FeatureDetector(Detector):
    """A student, its teacher, and how their layers are compared."""

    method: Literal["eca_mkdad"] = "eca_mkdad"
    student: StudentConfig
    layers: Layers
    lambda_: float
    teacher: str
    """SHA-256 of the teacher's weights"""

    @property
    def pretrained_sha256(self) -> str:
        """Return the teacher's SHA-256."""
        return self.teacher

    @property
    def channels(self) -> int:
        """Return 3: VGG16 takes colour images."""
        return CHANNELS

    @property
    def cost_group(self) -> Self:
        """Return the detector for any lambda and weights."""
        return self.model_copy(update={"lambda_": 0.0, "teacher": ""})

    def scorer(self) -> FeatureScorer:
        """Return the scorer, its weights still to be loaded."""
        return FeatureScorer(self.student.network(), Teacher(), self.layers, self.lambda_)


class DistilConfig(Step):
    """The one training step of ECA_MKDAD and of its ablations."""

    student: StudentConfig
    lambda_: Annotated[float, Field(ge=0)]
    training_layers: Layers = TRAINING_LAYERS
    scoring_layers: Layers = SCORING_LAYERS
    teacher: str
    """SHA-256 of the teacher's weights"""
    precision: Precision = "float32"
    """of the teacher's maps when the student is trained on them"""

    axis: ClassVar[str] = "placement"
    localises: ClassVar[bool] = True

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        check_layers(self.training_layers, self.scoring_layers, self.student.width)
        return self

    @property
    def name(self) -> str:
        """Return the name of the placement."""
        return self.student.placement

    @property
    def scored(self) -> str:
        """Return the student's name."""
        return "student"

    @property
    def detector(self) -> FeatureDetector:
        """Return the detector that the step makes."""
        return FeatureDetector(
            student=self.student,
            layers=self.scoring_layers,
            lambda_=self.lambda_,
            teacher=self.teacher,
        )

    @property
    def lane_group(self) -> Self:
        """Return the step with lambda 0."""
        return self.model_copy(update={"lambda_": 0.0})

    @property
    def targets_key(self) -> tuple[object, ...]:
        """Return what of the settings the teacher's maps depend on."""
        return self.teacher, self.training_layers, self.scoring_layers, self.precision

    def learner(self, seed: int, context: PackContext) -> "DistilLearner":
        """Return a learner; the learners of a pack share the teacher."""
        return DistilLearner(self, seed, context)


def check_layers(training: Sequence[int], scoring: Sequence[int], width: StudentWidth) -> None:
    """Check that a student can be trained on some layers and scored by others.

    Raises:
        ValueError: a layer that there is not, or is there twice, is scored but not trained, or
            is of another width than the teacher's.
    """
    for setting, layers in (("training_layers", training), ("scoring_layers", scoring)):
        wrong = [layer for layer in layers if layer not in LAYERS]
        if wrong or len(set(layers)) < len(layers):
            raise ValueError(
                f"{setting} is {list(layers)}; expected some of the max-pools {list(LAYERS)}, "
                "each once"
            )
    untrained = sorted(set(scoring) - set(training))
    if untrained:
        raise ValueError(
            f"scoring_layers has {untrained[0]}, which training_layers {list(training)} lacks"
        )
    if 1 in training and width == "lightweight":
        raise ValueError(
            "training_layers has 1, where a lightweight student has 16 channels and the teacher "
            "64; leave it out, or use student width full"
        )


class DistilLearner(Learner):
    """A student and its fixed teacher.

    The teacher's maps are kept where the context's budget has room for them, and computed anew at
    every step where not; what is trained is the same but for rounding.

    Args:
        config: the step.
        seed: seeds the student's initial weights.
        context: its pretrained weights are those of ``teacher_weights.read_teacher``.
    """

    def __init__(self, config: DistilConfig, seed: int, context: PackContext) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._student = config.student.network()
        # What comes after the last distilled layer gets no gradient, for which DDP would wait.
        self._student.after(max(config.training_layers)).requires_grad_(False)
        super().__init__({"student": self._student})
        self._teacher = context.once("teacher", lambda: _pretrained_teacher(context))
        self._budget = context.budget

    def objectives(self) -> list[Objective]:
        """Return the one objective, Eq. 13."""
        config = self.config
        run_teacher = self._teacher_maps
        return [
            FeatureObjective(self._student, config.training_layers, config.lambda_, run_teacher)
        ]

    def targets(self, images: Tensor, world: World) -> Batch:
        """Return the teacher's maps of the training layers by name, if they may be kept.

        Of images (N, 3, S, S), layer i is (N, C_i, S / 2^i, S / 2^i).
        """
        self._teacher.to(world.device)
        half = self.config.precision == "float16"
        return self._kept(images, world, self.config.training_layers, half, "training")

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return the same as :meth:`targets`, of the scoring layers and in full precision."""
        self._teacher.to(world.device)
        return self._kept(images, world, self.config.scoring_layers, False, "test")

    def scorer(self) -> FeatureScorer:
        """Return what scores images by the student and the teacher, in evaluation mode."""
        config = self.config
        return FeatureScorer(
            self._student.eval(),
            self._teacher,
            config.scoring_layers,
            config.lambda_,
            config.training_layers,
        ).to(next(self._student.parameters()).device)

    @torch.no_grad()
    def _teacher_maps(self, x_BCSS: Tensor) -> list[Tensor]:
        maps = self._teacher(x_BCSS)
        chosen = [maps[layer - 1] for layer in self.config.training_layers]
        # Rounded as kept ones are, so that keeping them or not trains the same.
        return [t.half() for t in chosen] if self.config.precision == "float16" else chosen

    def _kept(
        self, images: Tensor, world: World, layers: Sequence[int], half: bool, split: str
    ) -> Batch:
        size = kept_bytes(layers, images.shape[-1], len(images), half)
        left = self._budget.left
        if not self._budget.reserve(size):
            log.warning(
                "the teacher runs live on the %s images: its maps of them would take %.2f "
                "GiB, more than the %.2f GiB there are for them (resources.teacher_cache_gib)",
                split,
                size / 2**30,
                (left or 0) / 2**30,
            )
            return {}

        def flat(x: Tensor) -> Tensor:
            maps = self._teacher(x)
            joined = torch.cat([maps[layer - 1].flatten(1) for layer in layers], 1)
            return joined.half() if half else joined

        whole = world.map_rows(lambda rows: in_batches(flat, rows, batch_of(images)), images)
        shapes = [tap_shapes(VGG16, images.shape[-1])[layer - 1] for layer in layers]
        parts = whole.split([c * h * w for c, h, w in shapes], dim=1)
        return {
            layer_key(layer): part.unflatten(1, shape)
            for layer, part, shape in zip(layers, parts, shapes, strict=True)
        }


def _pretrained_teacher(context: PackContext) -> Teacher:
    assert context.pretrained is not None
    with torch.random.fork_rng(devices=[]):
        teacher = Teacher().eval().requires_grad_(False)
    teacher.load_state_dict(dict(context.pretrained))
    return teacher.to(memory_format=torch.channels_last)


def kept_bytes(layers: Sequence[int], image_size: int, images: int, half: bool) -> int:
    """Return the memory that a teacher's maps of so many images of S x S pixels take."""
    shapes = tap_shapes(VGG16, image_size)
    values = sum(c * h * w for layer, (c, h, w) in enumerate(shapes, start=1) if layer in layers)
    return images * values * (2 if half else 4)
