"""The networks of f-AnoGAN, and how they score images.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import StateDict
from kd_models.methods.errors import mean_squared_error
from kd_models.methods.networks import ConvNetworks, Decoder, Discriminator
from kd_models.methods.trained import NetworkDetector

GENERATOR, CRITIC = "generator", "critic"
"""names of the networks that the first step stores"""


def gan(networks: ConvNetworks) -> tuple[Decoder, Discriminator]:
    """Return generator and critic with initial weights.

    The critic normalises each image apart: a penalty on the gradient of one image's value has no
    meaning where that value depends on the other images (WGAN-GP, Section 4).
    """
    critic = Discriminator(networks.channels, networks.widths, "per-image")
    return networks.decoder(), critic


class Residuals(NamedTuple):
    """How an image differs from its reconstruction, (B,) each."""

    image: Tensor
    """A_R"""
    features: Tensor
    """A_D"""


class EncoderGenerator(nn.Module):
    """An encoder to the latents of a generator, and both compared by a critic's features.

    Generator and features are fixed, and always in evaluation mode.

    Args:
        networks: their shapes.
    """

    def __init__(self, networks: ConvNetworks) -> None:
        super().__init__()
        self.generator, critic = gan(networks)
        self.features = critic.features
        self.encoder = networks.encoder()
        self.generator.requires_grad_(False)
        self.features.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Put the encoder, and nothing else, into training mode."""
        super().train(mode)
        self.generator.eval()
        self.features.eval()
        return self

    def load_gan(self, generator: StateDict, critic: StateDict) -> None:
        """Take over a trained generator and the features of its critic."""
        self.generator.load_state_dict(dict(generator))
        start = "features."
        self.features.load_state_dict(
            {name.removeprefix(start): w for name, w in critic.items() if name.startswith(start)}
        )

    def forward(self, x_BCSS: Tensor) -> Residuals:
        """Return both residuals of each image."""
        x_hat = self.generator(self.encoder(x_BCSS)[0])
        return Residuals(
            image=mean_squared_error(x_BCSS, x_hat),
            features=mean_squared_error(self.features(x_BCSS), self.features(x_hat)),
        )


class ResidualScorer(Scorer):
    """A_R + kappa A_D: the images' and the features' residuals."""

    def __init__(self, student: EncoderGenerator, kappa: float) -> None:
        super().__init__(student)
        self._kappa = kappa

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        found: Residuals = self.student(x_BCSS)
        return found.image + self._kappa * found.features


class CriticScorer(Scorer):
    """The negative of the critic's value, which is high for images like those it has seen."""

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        values_B1: Tensor = self.student(x_BCSS)[0]
        return -values_B1[:, 0]


class FAnoganDetector(NetworkDetector):
    """Encoder, generator and the critic's features, or the critic alone."""

    method: Literal["f-anogan"] = "f-anogan"
    kappa: float | None = 1.0
    """weight of the features' residual; None: the critic alone, whose value is the score"""

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        if self.kappa is None:
            return CriticScorer(gan(self.networks)[1])
        return ResidualScorer(EncoderGenerator(self.networks), self.kappa)
