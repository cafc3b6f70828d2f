"""ECA_MKDAD (Zhou and Xing 2023): a small student learns VGG16's features of normal images."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from kd_models.methods.base import PackContext, seeded
from kd_models.methods.distilled import DistilledLearner, DistilledStep, Layers, check_layers
from kd_models.methods.eca_mkdad.objectives import FeatureObjective
from kd_models.methods.eca_mkdad.scores import FeatureDetector, FeatureScorer, StudentConfig
from kd_models.methods.objectives import Objective

TRAINING_LAYERS, SCORING_LAYERS = (2, 3, 4, 5), (3, 4, 5)
"""Eq. 3 sums four of the five layers; the official MKDAD trains on these and scores by those."""


class DistilConfig(DistilledStep):
    """The one training step of ECA_MKDAD and of its ablations."""

    student: StudentConfig
    lambda_: Annotated[float, Field(ge=0)]
    training_layers: Layers = TRAINING_LAYERS
    scoring_layers: Layers = SCORING_LAYERS

    axis: ClassVar[str] = "placement"

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

    def learner(self, seed: int, context: PackContext) -> "DistilLearner":
        """Return a learner; the learners of a pack share the teacher."""
        return DistilLearner(self, seed, context)


class DistilLearner(DistilledLearner):
    """A student and its fixed teacher.

    Args:
        config: the step.
        seed: seeds the student's initial weights.
        context: its pretrained weights are those of ``vgg16_weights.read_teacher``.
    """

    def __init__(self, config: DistilConfig, seed: int, context: PackContext) -> None:
        super().__init__(config, seeded(seed, config.student.network), context)
        self.config = config

    def objectives(self) -> list[Objective]:
        """Return the one objective, Eq. 13."""
        config, run_teacher = self.config, self._teacher_maps
        return [
            FeatureObjective(self._student, config.training_layers, config.lambda_, run_teacher)
        ]

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
