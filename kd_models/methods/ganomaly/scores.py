"""How GANomaly scores images. Shapes: B images in a batch."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector
from kd_models.methods.ganomaly.networks import NetworkConfig


class GanomalyScorer(Scorer):
    """A(x) = || G_E(x) - E(G(x)) ||_1, the distance between an image's latents (Eq. 5)."""

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the distances (B,)."""
        z1, _, z2 = self.student(x_BCSS)
        scores: Tensor = (z1 - z2).abs().sum(1)
        return scores


class GanomalyDetector(Detector):
    """A generator."""

    method: Literal["ganomaly"] = "ganomaly"
    network: NetworkConfig

    @property
    def channels(self) -> int:
        """Return the channels of its images."""
        return self.network.channels

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        return GanomalyScorer(self.network.generator())
