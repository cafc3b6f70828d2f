"""How far an image is from its nearest neighbours among normal images."""

from typing import ClassVar, Literal

from torch import Tensor

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.fitted import FittedStep, PixelDetector, PixelNetwork
from kd_models.methods.neighbours import Neighbours
from kd_models.values import Count


class PixelNeighbours(PixelNetwork):
    """Mean distance of a pooled image to its nearest neighbours in a memory of normal images.

    Args:
        channels: of the images.
        side: of the pooled images.
        memory: how many are kept.
        neighbours: how many of them count.
    """

    def __init__(self, channels: int, side: int, memory: int, neighbours: int) -> None:
        super().__init__(channels, side)
        self.neighbours = Neighbours(self.size, memory, neighbours)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the mean distances (B,)."""
        scores: Tensor = self.neighbours(self.pool(x_BCSS))
        return scores

    def fit(self, images: Tensor) -> None:
        """Keep some of the images (N, C, S, S) in memory."""
        self.neighbours.fit(self.pool(images))


class KnnDetector(PixelDetector):
    """A memory of pooled images."""

    method: Literal["knn"] = "knn"
    memory: Count
    neighbours: Count

    def scorer(self) -> Scorer:
        """Return the scorer, still to be fitted or loaded."""
        network = PixelNeighbours(self.colours, self.side, self.memory, self.neighbours)
        return Scorer(network)


class KnnStep(FittedStep):
    """The choice of the images that are kept."""

    axis: ClassVar[str] = "neighbours"
    fitted: KnnDetector
