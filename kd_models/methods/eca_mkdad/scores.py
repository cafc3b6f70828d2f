"""How students of ECA_MKDAD score images: as the paper does, or calibrated on normal images.

Shapes: B images in a batch, L scoring layers.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import field_validator
from torch import Tensor, nn

from kd_models.methods.base import CannotTrain
from kd_models.methods.distilled import DistilledDetector, LayerScorer
from kd_models.methods.eca_mkdad.networks import student_network
from kd_models.methods.eca_mkdad.objectives import feature_distances
from kd_models.methods.eca_mkdad.placements import placement
from kd_models.methods.vgg16 import Student, StudentWidth, Teacher
from kd_models.values import Value

Score = Literal["paper", "calibrated"]


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
        return student_network(placement(self.placement), self.width)


class FeatureScorer(LayerScorer):
    """Eq. 13 as a score: how far the student's layers are from the teacher's, (B,)."""

    _lambda: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        layers: Sequence[int],
        lambda_: float,
        distilled: Sequence[int] | None = None,
    ) -> None:
        super().__init__(student, teacher, layers, distilled)
        # A tensor, so that lanes may differ in it.
        self.register_buffer("_lambda", torch.tensor(lambda_), persistent=False)

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,); without ``targets`` the teacher runs."""
        score = x_BCSS.new_zeros(x_BCSS.shape[0])  # len() would be a constant when exported
        for value, direction in self.distances(x_BCSS, targets):
            score = score + value + self._lambda * direction
        return score

    def distances(
        self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return value and direction of Eq. 13 for each scoring layer, (B,) each."""
        return [feature_distances(*pair) for pair in self.pairs(x_BCSS, targets)]


class CalibratedStudent(nn.Module):
    """A student with how far its layers are from the teacher's on normal images.

    Mean and deviation of the logarithms of both parts of Eq. 13, of each scoring layer, are
    parameters, since they have to be deployed, but no optimizer trains them.

    Args:
        student: the student.
        layers: how many scoring layers there are, L.
    """

    def __init__(self, student: Student, layers: int) -> None:
        super().__init__()
        self.student = student
        self.mean = nn.Parameter(torch.zeros(2 * layers), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(2 * layers), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> list[Tensor]:
        """Return the maps of the student's layers."""
        maps: list[Tensor] = self.student(x_BCSS)
        return maps

    @torch.no_grad()
    def fit(self, logs_N2L: Tensor) -> None:
        """Fit mean and deviation to the logarithms of normal images' distances (N, 2 L).

        Raises:
            CannotTrain: a distance is the same for all of them.
        """
        deviation = logs_N2L.double().std(0, correction=0)
        if not bool((deviation > 0).all()):
            raise CannotTrain("a layer is as far from the teacher's for every training image")
        self.mean.copy_(logs_N2L.double().mean(0))
        self.deviation.copy_(deviation)


class CalibratedScorer(FeatureScorer):
    """How much farther than on normal images a student's layers are from its teacher's, (B,).

    The parts of Eq. 13 (the value and the direction of each layer) differ in scale by orders of
    magnitude, so their sum is mostly one layer's value. Here the logarithm of each is standardised
    by normal images before they are summed. Not in the paper.
    """

    student: CalibratedStudent

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,); without ``targets`` the teacher runs."""
        logs_B2L = self.log_distances(x_BCSS, targets)
        return ((logs_B2L - self.student.mean) / self.student.deviation).sum(1)

    def log_distances(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the logarithms (B, 2 L) of value and direction of each scoring layer."""
        parts = [part for pair in self.distances(x_BCSS, targets) for part in pair]
        return torch.stack(parts, 1).clamp(min=_SMALLEST).log()


_SMALLEST = 1e-12


class FeatureDetector(DistilledDetector):
    """A student, its teacher, and how their layers are compared."""

    method: Literal["eca_mkdad"] = "eca_mkdad"
    student: StudentConfig
    lambda_: float
    score: Score = "paper"

    @property
    def cost_group(self) -> Self:
        """Return the detector for any lambda and weights."""
        return self.model_copy(update={"lambda_": 0.0, "teacher": ""})

    def scorer(self) -> FeatureScorer:
        """Return the scorer, its weights still to be loaded."""
        student = self.student.network()
        if self.score == "paper":
            return FeatureScorer(student, Teacher(), self.layers, self.lambda_)
        calibrated = CalibratedStudent(student, len(self.layers))
        return CalibratedScorer(calibrated, Teacher(), self.layers, self.lambda_)
