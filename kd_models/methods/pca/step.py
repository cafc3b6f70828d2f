"""How much of an image its projection on the normal images' principal components leaves out."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import CannotTrain
from kd_models.methods.fitted import FittedStep, PixelDetector, PixelNetwork
from kd_models.values import Count


class PrincipalComponents(PixelNetwork):
    """Distance of a pooled image from the plane of the normal images' principal components.

    Shapes: F pixels of the pooled image, K components.

    Args:
        channels: of the images.
        side: of the pooled image.
        components: K.
    """

    def __init__(self, channels: int, side: int, components: int) -> None:
        super().__init__(channels, side)
        self.mean = nn.Parameter(torch.zeros(self.size), requires_grad=False)
        self.components_FK = nn.Parameter(torch.zeros(self.size, components), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the distances (B,)."""
        centred_BF = self.pool(x_BCSS) - self.mean
        inside = (centred_BF @ self.components_FK).square().sum(1)
        # By Pythagoras. Rounding may leave less than nothing of an image within the plane.
        distances: Tensor = (centred_BF.square().sum(1) - inside).clamp(min=0).sqrt()
        return distances

    def fit(self, images: Tensor) -> None:
        """Fit mean and components to the images (N, C, S, S), in double precision.

        Raises:
            CannotTrain: the images have no component.
        """
        rows = self.pool(images).double()
        mean = rows.mean(0)
        _, deviations, components_RF = torch.linalg.svd(rows - mean, full_matrices=False)
        # Where there are fewer images than components, the others stay zero.
        found = min(int((deviations > 1e-9 * deviations[0]).sum()), self.components_FK.shape[1])
        if not deviations[0] > 0:
            raise CannotTrain("all training images are alike")
        self.mean.copy_(mean)
        self.components_FK.zero_()
        self.components_FK[:, :found] = components_RF[:found].T.to(self.components_FK)


class PcaDetector(PixelDetector):
    """Principal components of pooled pixels."""

    method: Literal["pca"] = "pca"
    components: Count

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        return Scorer(PrincipalComponents(self.colours, self.side, self.components))


class PcaStep(FittedStep):
    """The fit of the components."""

    axis: ClassVar[str] = "components"
    fitted: PcaDetector
