"""ECA_MKDAD (Zhou and Xing 2023): a small student learns VGG16's features of normal images."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from kd_models.methods.base import Learner, PackContext, Step, seeded
from kd_models.methods.eca_mkdad.fixed_teacher import FixedTeacher
from kd_models.methods.eca_mkdad.networks import LAYERS, StudentWidth
from kd_models.methods.eca_mkdad.objectives import FeatureObjective
from kd_models.methods.eca_mkdad.scores import FeatureDetector, FeatureScorer, Layers, StudentConfig
from kd_models.methods.objectives import Batch, Objective
from kd_models.world import World

Precision = Literal["float32", "float16"]

TRAINING_LAYERS, SCORING_LAYERS = (2, 3, 4, 5), (3, 4, 5)
"""Eq. 3 sums four of the five layers; the official MKDAD trains on these and scores by those."""


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
        self._student = seeded(seed, config.student.network)
        # What comes after the last distilled layer gets no gradient, for which DDP would wait.
        self._student.after(max(config.training_layers)).requires_grad_(False)
        super().__init__({"student": self._student})
        self._teacher = FixedTeacher(context)

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
        half = self.config.precision == "float16"
        return self._teacher.kept(images, world, self.config.training_layers, half, "training")

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return the same as :meth:`targets`, of the scoring layers and in full precision."""
        return self._teacher.kept(images, world, self.config.scoring_layers, False, "test")

    def scorer(self) -> FeatureScorer:
        """Return what scores images by the student and the teacher, in evaluation mode."""
        config = self.config
        return FeatureScorer(
            self._student.eval(),
            self._teacher.network,
            config.scoring_layers,
            config.lambda_,
            config.training_layers,
        ).to(next(self._student.parameters()).device)

    @torch.no_grad()
    def _teacher_maps(self, x_BCSS: Tensor) -> list[Tensor]:
        maps = self._teacher.network(x_BCSS)
        chosen = [maps[layer - 1] for layer in self.config.training_layers]
        # Rounded as kept ones are, so that keeping them or not trains the same.
        return [t.half() for t in chosen] if self.config.precision == "float16" else chosen
