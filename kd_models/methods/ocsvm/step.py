"""How far an image is outside the boundary that a one-class SVM draws around normal images.

Shapes: B images, K numbers of each, V support vectors.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.fitted import FittedStep
from kd_models.methods.kernels import (
    KernelDetector,
    KernelNetwork,
    Space,
    padded,
    squared_distances,
)
from kd_models.methods.neighbours import evenly_chosen
from kd_models.values import Count

Nu = Annotated[float, Field(gt=0, lt=1)]
"""of 1 all images are support vectors, and no offset is found"""
Gamma = Literal["scale"] | Annotated[float, Field(gt=0)]


class Boundary(KernelNetwork):
    """The negative decision function of a one-class SVM; above 0 an image lies outside.

    How many support vectors there are is not known before it is fitted, but the shape of a network
    is. Where there are fewer than there is room for, the other coefficients are zero; where there
    are more, it is fitted to fewer images.

    Args:
        channels: of the images.
        space: in which they are compared.
        memory: images that it is fitted to.
        vectors: V.
        nu: share of the images that may lie outside.
        gamma: of the kernel, or ``scale``.
    """

    def __init__(
        self, channels: int, space: Space, memory: int, vectors: int, nu: float, gamma: Gamma
    ) -> None:
        super().__init__(channels, space)
        self._memory, self._nu, self._asked = memory, nu, gamma
        self.vectors_VK = nn.Parameter(torch.zeros(vectors, self.out), requires_grad=False)
        self.coefficients_1V = nn.Parameter(torch.zeros(1, vectors), requires_grad=False)
        self.offset = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.gamma = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return rho - sum_i alpha_i k(x_i, x) of each image, (B,) (Eq. 3.10 of the paper)."""
        squared_BV = squared_distances(self.rows(x_BCSS), self.vectors_VK)
        kernels_BV = (-self.gamma * squared_BV).exp()
        inside_B1 = functional.linear(kernels_BV, self.coefficients_1V)
        scores: Tensor = self.offset - inside_B1.squeeze(1)
        return scores

    def fit(self, images: Tensor) -> None:
        """Fit it to the images (N, C, S, S), evenly chosen where they are too many.

        Raises:
            CannotTrain: the images are all alike.
        """
        from sklearn.svm import OneClassSVM  # seconds to import

        rows = self.fit_rows(images)
        gamma = self._asked
        if gamma == "scale":
            gamma = 1 / float(rows.var(0, correction=0).sum())
        room = len(self.vectors_VK)
        count = min(self._memory, len(rows))
        while True:
            chosen = rows[evenly_chosen(len(rows), count, rows.device)].cpu().numpy()
            svm = OneClassSVM(kernel="rbf", nu=self._nu, gamma=gamma).fit(chosen)
            found = len(svm.support_)
            if found <= room:
                break
            count = min(count * room // found, count - 1)
        # libsvm's coefficients sum to nu N, the paper's to 1.
        coefficients = torch.from_numpy(svm.dual_coef_)
        total = coefficients.sum()
        vectors = torch.from_numpy(svm.support_vectors_)
        self.vectors_VK.copy_(padded(vectors, self.vectors_VK))
        self.coefficients_1V.copy_(padded(coefficients / total, self.coefficients_1V))
        self.offset.fill_(-float(svm.intercept_[0]) / float(total))
        self.gamma.fill_(gamma)


class OcsvmDetector(KernelDetector):
    """A one-class SVM of pooled images."""

    method: Literal["ocsvm"] = "ocsvm"
    nu: Nu
    gamma: Gamma
    margin: Count

    @property
    def vectors(self) -> int:
        """Return how many support vectors there is room for.

        At most nu N images lie outside (Proposition 3), and those on the boundary are the others.
        """
        return min(self.memory, math.ceil(self.nu * self.memory) + self.margin)

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        network = Boundary(self.colours, self.space, self.memory, self.vectors, self.nu, self.gamma)
        return Scorer(network)


class OcsvmStep(FittedStep):
    """The fit of the boundary."""

    axis: ClassVar[str] = "nu"
    fitted: OcsvmDetector
