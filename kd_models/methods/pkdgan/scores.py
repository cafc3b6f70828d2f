"""How the networks of P-KDGAN score images: as the paper does, or calibrated on normal images.

Shapes: B images in a batch, N training images, C image channels, S pixels a side, F features.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Detector, StateDict
from kd_models.methods.ganomaly.losses import Distance, per_image_distance
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.gradients import GradientHistograms
from kd_models.methods.networks import IMAGE_SIZE, LATENT
from kd_models.methods.prototypes import Prototypes, PrototypeSettings

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


class CalibratedNetwork(nn.Module):
    """A generator's encoder, whose view of an image is compared with that of normal images.

    S_enc compares an image's two latents by their plain distance, whatever those of normal images
    are like. Here what the encoder sees and which way the image's brightness changes are
    whitened in part as they vary in normal images; the score is the distance to the nearest
    prototype of these. Of the generator nothing else is needed.

    Args:
        config: of the generator.
        calibration: how the prototypes are fitted.
    """

    def __init__(self, config: NetworkConfig, calibration: PrototypeSettings) -> None:
        super().__init__()
        encoder = config.generator().encoder
        # The latent is a linear map of the features before it: the smaller of the two is taken.
        parts: dict[str, nn.Module] = {"features": encoder.features}
        if config.features > LATENT:
            parts["head"] = encoder.head
        self.encoder = nn.Sequential(OrderedDict(parts))
        self.gradients = GradientHistograms(IMAGE_SIZE)
        seen = min(config.features, LATENT)
        self.prototypes = Prototypes((seen, self.gradients.size), calibration)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the distances (B,)."""
        scores: Tensor = self.prototypes(self.features(x_BCSS))
        return scores

    def features(self, x_BCSS: Tensor) -> Tensor:
        """Return the rows (B, F) that are compared."""
        return torch.cat([self.encoder(x_BCSS).flatten(1), self.gradients(x_BCSS)], 1)

    def fit(self, features_NF: Tensor) -> None:
        """Fit the prototypes to the features of normal images.

        Raises:
            CannotTrain: the features of all images are alike.
        """
        self.prototypes.fit(features_NF)

    def load_generator(self, weights: StateDict) -> None:
        """Take over a trained generator's weights."""
        own = {name for name in self.state_dict() if not name.startswith("prototypes.")}
        self.load_state_dict({name: weights[name] for name in own}, strict=False)


class GanDetector(Detector):
    """A generator and how images are scored by it."""

    method: Literal["pkdgan"] = "pkdgan"
    network: NetworkConfig
    distance: Distance = "l2"
    """between latents, for the paper's score"""
    calibration: PrototypeSettings | None = None
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
