"""A few prototypes of what normal images are like, by the nearest of which images are scored.

Shapes: B images, N training images, F features, K components, M prototypes.
"""

import warnings
from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.methods.neighbours import Neighbours
from kd_models.methods.whitening import Shrinkage, Whitening
from kd_models.values import Count, Value


class Projection(Value):
    """How features are brought to a space in which distances tell."""

    shrinkage: Shrinkage = 0.01
    """share of the features' covariance that is taken from a multiple of the identity"""
    whitening: Annotated[float, Field(ge=0, le=1)] = 0.5
    """how far features are whitened; 1: every direction counts as much as it varies"""
    components: Count = 128
    """directions in which features vary most, or all where there are fewer; of the others only how
    far along them an image lies counts"""


class PrototypeSettings(Projection):
    """How prototypes are fitted. Not in the papers; settled in docs/lab-notes.md."""

    prototypes: Count = 64
    """how many there are, or one for each training image where there are fewer"""

    def of(self, images: int | None) -> Self:
        """Return what can be had of so many images; of None all that is asked for."""
        prototypes = self.prototypes if images is None else min(self.prototypes, images)
        return self.model_copy(update={"prototypes": prototypes})


class Prototypes(nn.Module):
    """Distance of features to the nearest of the centres of normal images' clusters.

    Features are whitened in part before.

    Args:
        blocks: sizes of groups of features, which are brought to one scale; F is their sum.
        settings: how they are fitted.
    """

    def __init__(self, blocks: Sequence[int], settings: PrototypeSettings) -> None:
        super().__init__()
        self._blocks = tuple(blocks)
        self.whitening = Whitening(sum(blocks), min(settings.components, sum(blocks)))
        self.nearest = Neighbours(self.whitening.out, settings.prototypes, neighbours=1)
        self._settings = settings

    def forward(self, features_BF: Tensor) -> Tensor:
        """Return the distances (B,)."""
        distances: Tensor = self.nearest(self.whitening(features_BF))
        return distances

    def fit(self, features_NF: Tensor) -> None:
        """Fit whitening and prototypes to the features of normal images.

        Raises:
            CannotTrain: the features of all images are alike.
        """
        self.whitening.fit(
            features_NF,
            shrinkage=self._settings.shrinkage,
            strength=self._settings.whitening,
            blocks=self._blocks,
        )
        centres_MK = cluster_centres(self.whitening(features_NF), self._settings.prototypes)
        self.nearest.fit(centres_MK)


def cluster_centres(rows_NK: Tensor, clusters: int) -> Tensor:
    """Return the centres (M, K) that k-means finds, the same each time.

    Args:
        rows_NK: what is clustered.
        clusters: M, or N where there are fewer rows.
    """
    from sklearn.cluster import KMeans  # seconds to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    kmeans = KMeans(min(clusters, len(rows_NK)), n_init=1, random_state=0)
    # With several threads the order of sums differs from run to run.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # images may be alike
        kmeans.fit(rows_NK.detach().cpu().numpy())
    return torch.from_numpy(kmeans.cluster_centers_).to(rows_NK)
