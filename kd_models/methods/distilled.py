"""What methods have in common whose students learn layers of a fixed, pretrained VGG16.

Shapes: B images in a batch, C channels, S pixels a side.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, Learner, PackContext, Step
from kd_models.methods.fixed_teacher import FixedTeacher, layer_key
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective
from kd_models.methods.vgg16 import CHANNELS, LAYERS, Student, StudentWidth, Teacher
from kd_models.world import World

Layers = Annotated[
    tuple[int, ...], Field(min_length=1), AfterValidator(lambda layers: tuple(sorted(layers)))
]
"""max-pools from 1 to 5; their order means nothing"""

Pair = tuple[Tensor, Tensor]
"""the teacher's map of a layer and the student's, (B, C_i, S / 2^i, S / 2^i) each"""

Precision = Literal["float32", "float16"]


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


class LayerObjective(WeightedObjective):
    """A student's layers against a fixed teacher's.

    Args:
        weights: of the terms, by name.
        student: images to the maps of all its layers.
        layers: which of them are distilled, from 1.
        run_teacher: images to the fixed teacher's maps of ``layers``, for batches that come
            without. Not a submodule: nothing of it is trained.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        student: nn.Module,
        layers: Sequence[int],
        run_teacher: Callable[[Tensor], Sequence[Tensor]],
    ) -> None:
        super().__init__(weights)
        self.student = student
        self.layers = tuple(layers)
        self._run_teacher = run_teacher

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the terms and their weighted sum."""
        maps = self.student(batch["x"])
        keys = [layer_key(layer) for layer in self.layers]
        if keys[0] in batch:
            wanted: Sequence[Tensor] = [batch[key] for key in keys]
        else:
            wanted = self._run_teacher(batch["x"])
        students = [maps[layer - 1] for layer in self.layers]
        terms = self.terms(list(zip(wanted, students, strict=True)))
        terms[LOSS] = self.weighted_sum(terms)
        return terms, {}

    @abstractmethod
    def terms(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Return every term by name, a scalar each, of the maps of ``layers``."""


class LayerScorer(Scorer):
    """How far a student's layers are from its teacher's.

    Args:
        student: images to the maps of all its layers.
        teacher: the same of the fixed teacher.
        layers: those that score, from 1.
        distilled: those that were trained; None for those that score.
    """

    teacher: Teacher

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        layers: Sequence[int],
        distilled: Sequence[int] | None = None,
    ) -> None:
        super().__init__(student, teacher)
        self._layers = tuple(layers)
        self._distilled = self._layers if distilled is None else tuple(distilled)

    def pairs(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> list[Pair]:
        """Return both networks' maps of the scoring layers; without ``targets`` the teacher runs.

        Args:
            x_BCSS: the images.
            targets: the teacher's maps, if they were kept.
        """
        if targets:
            wanted = [targets[layer_key(layer)] for layer in self._layers]
        else:
            of_all = self.teacher(x_BCSS)
            wanted = [of_all[layer - 1] for layer in self._layers]
        maps = self.student(x_BCSS)
        return [
            (teacher, maps[layer - 1]) for layer, teacher in zip(self._layers, wanted, strict=True)
        ]

    def maps(self, x_BCSS: Tensor) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Return the maps of the distilled layers as means over channels.

        Of the student, of the teacher, and of their absolute difference.
        """
        student, teacher = self.student(x_BCSS), self.teacher(x_BCSS)
        pairs = {layer: (student[layer - 1], teacher[layer - 1]) for layer in self._distilled}
        return {
            layer: (s.mean(1), t.mean(1), (s - t).abs().mean(1)) for layer, (s, t) in pairs.items()
        }


class DistilledDetector(Detector):
    """A student, its teacher, and the layers by which they are compared."""

    layers: Layers
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


class DistilledStep(Step):
    """The training of a student by a fixed teacher."""

    training_layers: Layers
    scoring_layers: Layers
    teacher: str
    """SHA-256 of the teacher's weights"""
    precision: Precision = "float32"
    """of the teacher's maps when the student is trained on them"""

    localises: ClassVar[bool] = True

    @property
    def targets_key(self) -> tuple[object, ...]:
        """Return what of the settings the teacher's maps depend on."""
        return self.teacher, self.training_layers, self.scoring_layers, self.precision


class DistilledLearner(Learner):
    """A student and its fixed teacher.

    The teacher's maps are kept where the context's budget has room for them, and computed anew at
    every step where not; what is trained is the same but for rounding.

    Args:
        step: the step.
        student: the student, with its initial weights.
        context: its pretrained weights are those of ``vgg16_weights.read_teacher``.
    """

    def __init__(self, step: DistilledStep, student: Student, context: PackContext) -> None:
        # What comes after the last distilled layer gets no gradient, for which DDP would wait.
        student.after(max(step.training_layers)).requires_grad_(False)
        super().__init__({step.scored: student})
        self._step = step
        self._student = student
        self._teacher = FixedTeacher(context)

    def targets(self, images: Tensor, world: World) -> Batch:
        """Return the teacher's maps of the training layers by name, if they may be kept.

        Of images (N, 3, S, S), layer i is (N, C_i, S / 2^i, S / 2^i).
        """
        half = self._step.precision == "float16"
        return self._teacher.kept(images, world, self._step.training_layers, half, "training")

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return the same as :meth:`targets`, of the scoring layers and in full precision."""
        return self._teacher.kept(images, world, self._step.scoring_layers, False, "test")

    @torch.no_grad()
    def _teacher_maps(self, x_BCSS: Tensor) -> list[Tensor]:
        maps = self._teacher.network(x_BCSS)
        chosen = [maps[layer - 1] for layer in self._step.training_layers]
        # Rounded as kept ones are, so that keeping them or not trains the same.
        return [t.half() for t in chosen] if self._step.precision == "float16" else chosen
