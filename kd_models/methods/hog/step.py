"""How far an image's gradients are from the nearest prototype of normal images'."""

from typing import ClassVar, Literal

from torch import Tensor

from kd_models.evaluation.scoring import Scorer, batch_of, in_batches
from kd_models.methods.fitted import IMAGE_SIZE, FittedDetector, FittedNetwork, FittedStep
from kd_models.methods.gradients import GradientHistograms
from kd_models.methods.prototypes import Prototypes, PrototypeSettings


class NearestGradients(FittedNetwork):
    """Distance of an image's gradient histograms to the nearest prototype.

    Args:
        settings: how the prototypes are fitted.
    """

    def __init__(self, settings: PrototypeSettings) -> None:
        super().__init__()
        self.gradients = GradientHistograms(IMAGE_SIZE)
        self.prototypes = Prototypes((self.gradients.size,), settings)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the distances (B,)."""
        scores: Tensor = self.prototypes(self.gradients(x_BCSS))
        return scores

    def fit(self, images: Tensor) -> None:
        """Fit the prototypes to the images (N, C, S, S)."""
        self.prototypes.fit(in_batches(self.gradients, images, batch_of(images)))


class HogDetector(FittedDetector):
    """Prototypes of gradient histograms."""

    method: Literal["hog"] = "hog"
    fit: PrototypeSettings

    @property
    def prototypes(self) -> int:
        """Return how many there are."""
        return self.fit.prototypes

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        return Scorer(NearestGradients(self.fit))


class HogStep(FittedStep):
    """The fit of the prototypes."""

    axis: ClassVar[str] = "prototypes"
    fitted: HogDetector
