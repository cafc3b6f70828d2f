"""A step that trains nothing: it fits the calibrated score of a trained student."""

from typing import ClassVar

from torch import Tensor

from kd_models.evaluation.scoring import over_images
from kd_models.methods.base import NetworkStates, PackContext, seeded
from kd_models.methods.distilled import Layers
from kd_models.methods.eca_mkdad.scores import (
    CalibratedScorer,
    CalibratedStudent,
    FeatureDetector,
    StudentConfig,
)
from kd_models.methods.fitted import DETECTOR, CalibrationLearner, UnseededStep
from kd_models.methods.fixed_teacher import FixedTeacher
from kd_models.methods.neighbours import evenly_chosen
from kd_models.methods.objectives import Batch
from kd_models.values import Count
from kd_models.world import World


class FeatureCalibration(UnseededStep):
    """The fit of a calibrated score, after the training of a student."""

    student: StudentConfig
    scoring_layers: Layers
    teacher: str
    """SHA-256 of the teacher's weights"""
    images: Count = 1000
    """training images that it is fitted to, or all where there are fewer"""

    axis: ClassVar[str] = "score"
    localises: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Return the placement and what is done."""
        return f"{self.student.placement} calibrated"

    @property
    def detector(self) -> FeatureDetector:
        """Return the detector that the step makes."""
        return FeatureDetector(
            student=self.student,
            layers=self.scoring_layers,
            lambda_=0.0,
            teacher=self.teacher,
            score="calibrated",
        )

    @property
    def targets_key(self) -> tuple[object, ...]:
        """Return what of the settings the teacher's maps depend on."""
        return self.teacher, self.scoring_layers

    def learner(self, seed: int, context: PackContext) -> "FeatureCalibrationLearner":
        """Return a learner; the learners of a pack share the teacher."""
        return FeatureCalibrationLearner(self, context)


class FeatureCalibrationLearner(CalibrationLearner):
    """A trained student and what is fitted to its distances from the teacher.

    Args:
        step: the step.
        context: its pretrained weights are those of ``vgg16_weights.read_teacher``.
    """

    def __init__(self, step: FeatureCalibration, context: PackContext) -> None:
        student = seeded(0, step.student.network)  # to be replaced by the trained one
        self._step = step
        self._student = CalibratedStudent(student, len(step.scoring_layers)).requires_grad_(False)
        self._teacher = FixedTeacher(context)
        super().__init__({DETECTOR: self._student})

    def load(self, weights: NetworkStates) -> None:
        """Take over the trained student, or a whole detector."""
        super().load(weights)
        if "student" in weights:
            self._student.student.load_state_dict(dict(weights["student"]))

    def calibrate(self, images: Tensor, world: World) -> None:
        """Fit the score to the distances of some of the images (N, C, S, S)."""
        count = min(self._step.images, len(images))
        chosen = images[evenly_chosen(len(images), count, images.device)]
        scorer = self.scorer()
        logs_N2L = over_images(scorer.log_distances, chosen, world)
        self._student.fit(logs_N2L)

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return the teacher's maps of the scoring layers, if they may be kept."""
        return self._teacher.kept(images, world, self._step.scoring_layers, False, "test")

    def scorer(self) -> CalibratedScorer:
        """Return what scores images by the student and the teacher, in evaluation mode."""
        device = next(self._student.parameters()).device
        return CalibratedScorer(
            self._student.eval(), self._teacher.network, self._step.scoring_layers, 0.0
        ).to(device)
