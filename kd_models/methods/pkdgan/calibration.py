"""A step that trains nothing: it fits the calibrated score of a trained generator."""

from typing import ClassVar, Literal

from torch import Tensor

from kd_models.evaluation.scoring import Scorer, over_images
from kd_models.methods.base import NetworkStates, PackContext, seeded
from kd_models.methods.fitted import DETECTOR, CalibrationLearner, UnseededStep
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import CalibratedNetwork, GanDetector
from kd_models.methods.prototypes import PrototypeSettings
from kd_models.world import World


class CalibrationStep(UnseededStep):
    """The fit of a calibrated score, after the last training step of a structure."""

    structure: str
    role: Literal["teacher", "student"]
    """whose generator it is"""
    network: NetworkConfig
    calibration: PrototypeSettings

    axis: ClassVar[str] = "score"

    @property
    def name(self) -> str:
        """Return the structure and what is done."""
        return f"{self.structure} calibrated"

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """Return whose score it is."""
        return self.role

    @property
    def detector(self) -> GanDetector:
        """Return the detector that the step makes."""
        return GanDetector(network=self.network, calibration=self.calibration)

    def learner(self, seed: int, context: PackContext) -> "GanCalibrationLearner":
        """Return a learner."""
        return GanCalibrationLearner(self)


class GanCalibrationLearner(CalibrationLearner):
    """A trained generator and the score that is fitted to its features.

    Args:
        step: the step.
    """

    def __init__(self, step: CalibrationStep) -> None:
        # What is drawn is replaced by the trained generator.
        self._network = seeded(0, lambda: CalibratedNetwork(step.network, step.calibration))
        self._network.requires_grad_(False)
        self._generator = f"{step.role}.generator"
        super().__init__({DETECTOR: self._network})

    def load(self, weights: NetworkStates) -> None:
        """Take over the trained generator, or a whole detector."""
        super().load(weights)
        if self._generator in weights:
            self._network.load_generator(weights[self._generator])

    def calibrate(self, images: Tensor, world: World) -> None:
        """Fit the score to the features of the images (N, C, S, S)."""
        network = self._network.eval()
        network.fit(over_images(network.features, images, world))

    def scorer(self) -> Scorer:
        """Return the scorer: the network's output is the score."""
        return Scorer(self._network.eval())
