"""How the networks of P-KDGAN score images: as the paper does, or calibrated on normal images.

Shapes: B images in a batch, N training images, C image channels, S pixels a side, F features.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, StateDict
from kd_models.methods.neighbours import Neighbours
from kd_models.methods.pkdgan.losses import Distance, per_image_distance
from kd_models.methods.pkdgan.networks import LATENT, NetworkConfig
from kd_models.methods.whitening import Shrinkage, Whitening
from kd_models.values import Count, Value

Score = Literal["paper", "calibrated"]


class NoveltyScorer(Scorer):
    """S_enc of P-KDGAN (Eq. 3): the distance between an image's latents, by one generator."""

    def __init__(self, generator: nn.Module, distance: Distance) -> None:
        super().__init__(generator)
        self._distance: Distance = distance

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the distances (B,)."""
        z1, _, z2 = self.student(x_BCSS)
        return per_image_distance(z1, z2, self._distance)


class Calibration(Value):
    """How the calibrated score is fitted. Not in the paper; settled in docs/lab-notes.md."""

    shrinkage: Shrinkage = 0.01
    """share of the features' covariance that is taken from a multiple of the identity"""
    whitening: Annotated[float, Field(ge=0, le=1)] = 0.5
    """how far features are whitened; 1: every direction counts as much as it varies"""
    memory: Count = 400
    """normal images that are kept, or all where there are fewer"""
    neighbours: Count = 1
    """how many of those nearest to an image count"""

    def of(self, images: int | None) -> Self:
        """Return what can be had of so many images; of None all that is asked for."""
        memory = self.memory if images is None else min(self.memory, images)
        return self.model_copy(
            update={"memory": memory, "neighbours": min(self.neighbours, memory)}
        )


POOLED = 8
"""pixels a side to which images and their residuals are pooled"""


class CalibratedNetwork(nn.Module):
    """A generator whose view of an image is compared with that of normal images.

    S_enc compares an image's two latents by their plain distance, whatever those of normal images
    are like. Here what the encoder sees, the image itself, and how far its reconstruction is from
    it (the latter two pooled) are whitened as they vary in normal images; the score is the
    distance to the nearest of some normal images. The second encoder is not needed.

    Args:
        config: of the generator.
        calibration: how many images are kept, and how many count.
    """

    def __init__(self, config: NetworkConfig, calibration: Calibration) -> None:
        super().__init__()
        generator = config.generator()
        self.encoder, self.decoder = generator.encoder, generator.decoder
        # The latent is a linear map of the features before it: the smaller of the two is taken.
        self._of_features = config.features <= LATENT
        self._blocks = (min(config.features, LATENT), config.channels * POOLED**2, POOLED**2)
        size = sum(self._blocks)
        self.whitening = Whitening(size)
        self.neighbours = Neighbours(size, calibration.memory, calibration.neighbours)
        self._calibration = calibration

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the distances (B,)."""
        scores: Tensor = self.neighbours(self.whitening(self.features(x_BCSS)))
        return scores

    def features(self, x_BCSS: Tensor) -> Tensor:
        """Return the rows (B, F) that are compared."""
        z_BZ, features = self.encoder(x_BCSS)
        residual_B1SS = (x_BCSS - self.decoder(z_BZ)).abs().mean(1, keepdim=True)
        seen = features.flatten(1) if self._of_features else z_BZ
        pooled = (functional.adaptive_avg_pool2d(x, POOLED) for x in (x_BCSS, residual_B1SS))
        return torch.cat([seen, *(part.flatten(1) for part in pooled)], 1)

    def fit(self, features_NF: Tensor) -> None:
        """Fit whitening and memory to the features of normal images.

        Raises:
            CannotTrain: the features of all images are alike.
        """
        self.whitening.fit(
            features_NF,
            shrinkage=self._calibration.shrinkage,
            strength=self._calibration.whitening,
            blocks=self._blocks,
        )
        self.neighbours.fit(self.whitening(features_NF))

    def load_generator(self, weights: StateDict) -> None:
        """Take over a trained generator's weights."""
        fitted = ("whitening.", "neighbours.")
        own = {name for name in self.state_dict() if not name.startswith(fitted)}
        self.load_state_dict({name: weights[name] for name in own}, strict=False)


class GanDetector(Detector):
    """A generator and how images are scored by it."""

    method: Literal["pkdgan"] = "pkdgan"
    network: NetworkConfig
    distance: Distance = "l2"
    """between latents, for the paper's score"""
    calibration: Calibration | None = None
    """of the calibrated score; None: the paper's score"""

    @property
    def channels(self) -> int:
        """Return the channels of its images."""
        return self.network.channels

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        if self.calibration is None:
            return NoveltyScorer(self.network.generator(), self.distance)
        return Scorer(CalibratedNetwork(self.network, self.calibration))
