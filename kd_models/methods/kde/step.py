"""How dense normal images are around an image.

Shapes: B images, K numbers of each, M images in memory.
"""

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.fitted import FittedStep
from kd_models.methods.kde.density import Rule, bandwidth_of, log_constant, log_kernels
from kd_models.methods.kernels import (
    KernelDetector,
    KernelNetwork,
    Space,
    padded,
    squared_distances,
)
from kd_models.methods.neighbours import evenly_chosen

Bandwidth = Rule | Annotated[float, Field(gt=0)]


class Density(KernelNetwork):
    """The negative logarithm of a density of Gaussian kernels, one on each image in a memory.

    Args:
        channels: of the images.
        space: in which they are compared.
        memory: M.
        bandwidth: of the kernels, in pixel values from -1 to 1, or how it is found.
    """

    def __init__(self, channels: int, space: Space, memory: int, bandwidth: Bandwidth) -> None:
        super().__init__(channels, space)
        self._asked = bandwidth
        self.memory_MK = nn.Parameter(torch.zeros(memory, self.out), requires_grad=False)
        self.bandwidth = nn.Parameter(torch.ones(()), requires_grad=False)
        self.constant = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return -log p(x) of each image, in nats, (B,) (Parzen 1962)."""
        squared_BM = squared_distances(self.rows(x_BCSS), self.memory_MK)
        scores: Tensor = self.constant - log_kernels(squared_BM, self.bandwidth)
        return scores

    def fit(self, images: Tensor) -> None:
        """Fit space and bandwidth to the images (N, C, S, S), and keep some of them.

        Raises:
            CannotTrain: the images are all alike, or too few for the bandwidth to be found.
        """
        rows = self.fit_rows(images)
        memory = len(self.memory_MK)
        kept = rows[evenly_chosen(len(rows), min(memory, len(rows)), rows.device)]
        found = bandwidth_of(kept, self._asked) if isinstance(self._asked, str) else self._asked
        self.bandwidth.fill_(found)
        self.constant.fill_(log_constant(memory, rows.shape[1], found))
        again = rows[evenly_chosen(len(rows), memory, rows.device)]
        self.memory_MK.copy_(padded(again, self.memory_MK))


class KdeDetector(KernelDetector):
    """A density of pooled images."""

    method: Literal["kde"] = "kde"
    bandwidth: Bandwidth

    @property
    def cost_group(self) -> Self:
        """Return this one with any bandwidth: it costs nothing."""
        return self.model_copy(update={"bandwidth": 1.0})

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        return Scorer(Density(self.colours, self.space, self.memory, self.bandwidth))


class KdeStep(FittedStep):
    """The choice of bandwidth and of the images that are kept."""

    axis: ClassVar[str] = "bandwidth"
    fitted: KdeDetector
