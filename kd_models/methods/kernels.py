"""What methods share that compare pooled pixels with normal images by a Gaussian kernel.

Shapes: B images, N training images, F pixels of a pooled image, K numbers that are left of them, M
images in memory.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kd_models.data import DatasetRow
from kd_models.methods.base import CannotTrain, Variant
from kd_models.methods.fitted import IMAGE_SIZE, FittedDetector, FittedStep, PixelNetwork, Side
from kd_models.methods.named_recipes import RecipeSettings
from kd_models.values import Count, Value

Share = Annotated[float, Field(gt=0, le=1)]


class Space(Value):
    """The space in which images are compared."""

    side: Side = 8
    """pixels a side of the image that is looked at"""
    components: Count | None = 32
    """the most principal components that are kept of the pixels; null: the pixels themselves"""
    variance: Share = 0.95
    """share of the variance that the components have to keep, if so many are enough for it"""


class PrincipalCoordinates(nn.Module):
    """Rows (B, F) to their coordinates (B, K) along the principal components of normal images.

    How many components keep a share of the variance is not known before they are fitted, but the
    shape of a network is. Those beyond are zero, and change no distance.

    Args:
        size: F.
        components: K, the most that are kept.
    """

    def __init__(self, size: int, components: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.components_FK = nn.Parameter(torch.zeros(size, components), requires_grad=False)

    def forward(self, rows_BF: Tensor) -> Tensor:
        """Return the coordinates (B, K)."""
        coordinates: Tensor = (rows_BF - self.mean) @ self.components_FK
        return coordinates

    @torch.no_grad()
    def fit(self, rows_NF: Tensor, variance: float) -> Tensor:
        """Fit mean and components to rows of double precision that are not all alike.

        Args:
            rows_NF: of normal images.
            variance: share that is kept, by as few components as do.

        Returns:
            The rows' coordinates along the components that are not zero.
        """
        mean = rows_NF.mean(0)
        _, deviations, components_RF = torch.linalg.svd(rows_NF - mean, full_matrices=False)
        shares = deviations.square().cumsum(0) / deviations.square().sum()
        # As scikit-learn counts: the first that is above the share, or all.
        enough = int((shares <= variance).sum()) + 1
        there_are = int((deviations > 1e-9 * deviations[0]).sum())
        found = min(enough, there_are, self.components_FK.shape[1])
        self.mean.copy_(mean)
        self.components_FK.zero_()
        self.components_FK[:, :found] = components_RF[:found].T.to(self.components_FK)
        coordinates: Tensor = (rows_NF - mean) @ components_RF[:found].T
        return coordinates


class KernelNetwork(PixelNetwork):
    """A fitted network that compares images in a space of pooled pixels.

    Args:
        channels: of the images.
        space: in which they are compared.

    Attributes:
        out: K.
    """

    def __init__(self, channels: int, space: Space) -> None:
        super().__init__(channels, space.side)
        self._variance = space.variance
        self.projection: PrincipalCoordinates | None = None
        self.out = self.size
        if space.components is not None:
            self.out = min(space.components, self.size)
            self.projection = PrincipalCoordinates(self.size, self.out)

    def rows(self, x_BCSS: Tensor) -> Tensor:
        """Return the images in this space, (B, K)."""
        pooled_BF: Tensor = self.pool(x_BCSS)
        if self.projection is None:
            return pooled_BF
        rows_BK: Tensor = self.projection(pooled_BF)
        return rows_BK

    def fit_rows(self, images: Tensor) -> Tensor:
        """Fit the space to the images (N, C, S, S).

        Returns:
            The images in it, in double precision: as many numbers of each as are not always zero.

        Raises:
            CannotTrain: the images are all alike.
        """
        pooled_NF: Tensor = self.pool(images).double()
        if not (pooled_NF - pooled_NF.mean(0)).abs().max() > 1e-6:
            raise CannotTrain("all training images are alike")
        if self.projection is None:
            return pooled_NF
        return self.projection.fit(pooled_NF, self._variance)


def padded(rows_NK: Tensor, like: Tensor) -> Tensor:
    """Return rows with zeros below and to the right of them, of another tensor's shape."""
    rows, size = rows_NK.shape
    return functional.pad(rows_NK, (0, like.shape[1] - size, 0, like.shape[0] - rows))


def squared_distances(rows_BK: Tensor, memory_MK: Tensor) -> Tensor:
    """Return the squared distances (B, M) of rows from those in memory."""
    # |x - m|^2 = |x|^2 - 2 (x m - |m|^2 / 2), so that no (B, M, K) is needed.
    halves_M = memory_MK.square().sum(1) / 2
    closeness_BM = functional.linear(rows_BK, memory_MK, -halves_M)
    return (rows_BK.square().sum(1, keepdim=True) - 2 * closeness_BM).clamp(min=0)


class KernelDetector(FittedDetector):
    """A detector that compares images in a space of pooled pixels with those in a memory."""

    space: Space
    memory: Count
    """normal images that it is fitted to"""


class KernelSettings(RecipeSettings):
    """The space in which images are compared, and how many are kept."""

    space: Space = Space()
    """in which images are compared"""
    memory: Count = 2000
    """normal images that are kept, or all where there are fewer"""

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each value of the axis."""
        shared = {
            "colours": dataset.channels,
            "space": self.space,
            "memory": self.memory if images is None else min(self.memory, images),
        }
        for step in self.steps(shared):
            axes = {step.axis: getattr(step.fitted, step.axis)}
            yield Variant(axes, IMAGE_SIZE, ((step, None),))

    @abstractmethod
    def steps(self, shared: Mapping[str, Any]) -> Iterator[FittedStep]:
        """Yield a step for each value of the axis.

        Args:
            shared: the settings that all detectors here have.
        """
