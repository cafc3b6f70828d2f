"""What f-AnoGAN minimises: critic and generator in its first step, the encoder in its second.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_models.methods.f_anogan.input_gradient import input_gradient
from kd_models.methods.f_anogan.losses import gradient_penalty
from kd_models.methods.f_anogan.networks import EncoderGenerator
from kd_models.methods.networks import Decoder, Discriminator
from kd_models.methods.objectives import LOSS, Batch, Objective, run_fixed

CRITIC_LATENTS = "critic_latents"
"""z ~ N(0, 1) of the images that the critic compares with real ones, (B, Z)"""

GENERATOR_LATENTS = "generator_latents"
"""z ~ N(0, 1) of the images that the generator is trained by, (B, Z)"""

PLACES = "places"
"""epsilon ~ U(0, 1), (B,): where between a made and a real image the critic's gradient is taken"""


class CriticObjective(Objective):
    """The critic's loss (WGAN-GP, Eq. 3).

    Args:
        critic: which is trained.
        generator: whose images it compares with real ones.
        penalty: weight of the gradient penalty.
    """

    def __init__(self, critic: Discriminator, generator: Decoder, penalty: float) -> None:
        super().__init__()
        self.critic = critic
        # In a tuple, so that torch registers no parameters of the generator here.
        self._generator = (generator,)
        self._penalty = penalty

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the generator."""
        return self._generator

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the critic's mean values of real and made images, and the gradient penalty."""
        x_BCSS = batch["x"]
        with torch.no_grad():
            made_BCSS = self._generator[0](batch[CRITIC_LATENTS])
        places_B111 = batch[PLACES][:, None, None, None]
        between_BCSS = places_B111 * x_BCSS + (1 - places_B111) * made_BCSS
        real = self.critic(x_BCSS)[0].mean()
        made = self.critic(made_BCSS)[0].mean()
        penalty = gradient_penalty(input_gradient(self.critic, between_BCSS))
        terms = {"critic/real": real, "critic/made": made, "critic/penalty": penalty}
        return {**terms, LOSS: made - real + self._penalty * penalty}, {}


class GeneratorObjective(Objective):
    """The negative of the critic's mean value of made images (WGAN-GP, Algorithm 1).

    Args:
        generator: which is trained.
        critic: which values its images. Gradients pass through it but stop short of its weights.
        every: steps of the critic for each of the generator.
    """

    def __init__(self, generator: Decoder, critic: Discriminator, every: int) -> None:
        super().__init__()
        self.generator = generator
        self.every = every
        self._critic = (critic,)  # as the generator above

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the critic."""
        return self._critic

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the critic's mean value of made images."""
        (critic,) = self._critic
        made_BCSS = self.generator(batch[GENERATOR_LATENTS])
        values_B1, _ = run_fixed(critic, made_BCSS)
        return {"generator/made": values_B1.mean(), LOSS: -values_B1.mean()}, {}


class EncoderObjective(Objective):
    """L of the encoder's training izi_f, the mean of what images are scored by later.

    Args:
        networks: of which the encoder alone is trained.
        kappa: weight of the features' residual.
    """

    def __init__(self, networks: EncoderGenerator, kappa: float) -> None:
        super().__init__()
        self.networks = networks
        self._kappa = kappa

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the means over the batch of both residuals."""
        image, features = (part.mean() for part in self.networks(batch["x"]))
        terms = {"image": image, "features": features}
        return {**terms, LOSS: image + self._kappa * features}, {}
