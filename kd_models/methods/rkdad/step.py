"""RKDAD (Cheng, Yang and Liu, PRCV 2021): a student learns the FSP matrices of a fixed VGG16."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from kd_models.methods.base import PackContext, seeded
from kd_models.methods.distilled import (
    DistilledDetector,
    DistilledLearner,
    DistilledStep,
    LayerObjective,
    LayerScorer,
    Pair,
    check_layers,
)
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.objectives import Objective
from kd_models.methods.rkdad.losses import relations, values
from kd_models.methods.vgg16 import Student, StudentWidth, Teacher

Weight = Annotated[float, Field(ge=0)]


class RkdadObjective(LayerObjective):
    """The distances of FSP matrices, and by ``value_weight`` those of the layers themselves.

    Args:
        student: images to the maps of all its layers.
        layers: which of them are distilled, from 1, in order.
        value_weight: of the layers' own values.
        run_teacher: as :class:`LayerObjective` takes it.
    """

    def __init__(
        self,
        student: nn.Module,
        layers: Sequence[int],
        value_weight: float,
        run_teacher: Callable[[Tensor], Sequence[Tensor]],
    ) -> None:
        self._relations = [f"fsp/{one}-{other}" for one, other in pairwise(layers)]
        self._values = [f"value/{layer}" for layer in layers]
        weights = dict.fromkeys(self._relations, 1.0) | dict.fromkeys(self._values, value_weight)
        super().__init__(weights, student, layers, run_teacher)

    def terms(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Return the means over the batch."""
        names = [*self._relations, *self._values]
        distances = [*relations(pairs), *values(pairs)]
        return {name: each.mean() for name, each in zip(names, distances, strict=True)}


class RkdadScorer(LayerScorer):
    """The objective as a score: how a student's layers relate otherwise than its teacher's, (B,).

    Args:
        student: images to the maps of all its layers.
        teacher: the same of the fixed teacher.
        layers: those that score, from 1, in order.
        value_weight: of the layers' own values.
        distilled: the layers that were trained; None for those that score.
    """

    _value_weight: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        layers: Sequence[int],
        value_weight: float,
        distilled: Sequence[int] | None = None,
    ) -> None:
        super().__init__(student, teacher, layers, distilled)
        # A tensor, so that lanes may differ in it.
        self.register_buffer("_value_weight", torch.tensor(value_weight), persistent=False)

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,); without ``targets`` the teacher runs."""
        pairs = self.pairs(x_BCSS, targets)
        related = torch.stack(relations(pairs), 1).sum(1)
        return related + self._value_weight * torch.stack(values(pairs), 1).sum(1)


class RkdadDetector(DistilledDetector):
    """A student, its teacher, and the layers whose relations are compared."""

    method: Literal["rkdad"] = "rkdad"
    width: StudentWidth
    value_weight: Weight

    @property
    def cost_group(self) -> Self:
        """Return the detector for any weights."""
        return self.model_copy(update={"value_weight": 0.0, "teacher": ""})

    def scorer(self) -> RkdadScorer:
        """Return the scorer, its weights still to be loaded."""
        return RkdadScorer(Student(self.width), Teacher(), self.layers, self.value_weight)


class RkdadStep(DistilledStep):
    """The training of a student by the relations of its teacher's layers."""

    width: StudentWidth
    value_weight: Weight

    axis: ClassVar[str] = "student_width"
    scored: ClassVar[str] = DETECTOR

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        check_relations(self.training_layers, self.scoring_layers, self.width)
        return self

    @property
    def name(self) -> str:
        """Return the method and the student's width."""
        return f"rkdad {self.width}"

    @property
    def detector(self) -> RkdadDetector:
        """Return the detector that the step makes."""
        return RkdadDetector(
            width=self.width,
            layers=self.scoring_layers,
            value_weight=self.value_weight,
            teacher=self.teacher,
        )

    @property
    def lane_group(self) -> Self:
        """Return the step with value weight 0."""
        return self.model_copy(update={"value_weight": 0.0})

    def learner(self, seed: int, context: PackContext) -> "RkdadLearner":
        """Return a learner; the learners of a pack share the teacher."""
        return RkdadLearner(self, seed, context)


def check_relations(training: Sequence[int], scoring: Sequence[int], width: StudentWidth) -> None:
    """Check that a student can be trained on the relations of layers and scored by others'.

    Raises:
        ValueError: as :func:`check_layers`; or there is but one layer to score by, or a relation
            is scored that is not trained.
    """
    check_layers(training, scoring, width)
    trained, scored = (list(pairwise(sorted(layers))) for layers in (training, scoring))
    if not scored:
        raise ValueError(f"scoring_layers is {list(scoring)}; expected at least two, which relate")
    for one, other in scored:
        if (one, other) not in trained:
            raise ValueError(
                f"scoring_layers relates {one} and {other}, between which training_layers has "
                "another; leave neither out, or both"
            )


class RkdadLearner(DistilledLearner):
    """A student and its fixed teacher.

    Args:
        step: the step.
        seed: seeds the student's initial weights.
        context: its pretrained weights are those of ``vgg16_weights.read_teacher``.
    """

    def __init__(self, step: RkdadStep, seed: int, context: PackContext) -> None:
        super().__init__(step, seeded(seed, lambda: Student(step.width)), context)
        self.step = step

    def objectives(self) -> list[Objective]:
        """Return the one objective."""
        step, run_teacher = self.step, self._teacher_maps
        return [RkdadObjective(self._student, step.training_layers, step.value_weight, run_teacher)]

    def scorer(self) -> RkdadScorer:
        """Return what scores images by the student and the teacher, in evaluation mode."""
        step = self.step
        return RkdadScorer(
            self._student.eval(),
            self._teacher.network,
            step.scoring_layers,
            step.value_weight,
            step.training_layers,
        ).to(next(self._student.parameters()).device)
