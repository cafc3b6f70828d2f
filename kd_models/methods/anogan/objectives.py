"""What the generator and the discriminator of AnoGAN minimise (Eq. 1).

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_models.methods.adversarial import cross_entropies
from kd_models.methods.anogan.search import latents
from kd_models.methods.networks import Decoder, Discriminator
from kd_models.methods.objectives import LOSS, Batch, Objective, run_fixed

UNIFORM = "uniform"
"""from 0 to 1, (B, Z): what the latents of generated images are made of"""

_GENERATED = "generated"
"""G(z), (B, C, S, S)"""


class GeneratorObjective(Objective):
    """The discriminator's cross-entropy of generated images, against real.

    Args:
        generator: which is trained.
        discriminator: which judges its images; read.
    """

    def __init__(self, generator: Decoder, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator = generator
        # In a tuple, so that torch registers no parameters of it here.
        self._discriminator = (discriminator,)

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the discriminator."""
        return self._discriminator

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the loss, and the images for the discriminator."""
        generated = self.generator(latents(batch[UNIFORM]))
        logits_B1, _ = run_fixed(self._discriminator[0], generated)
        loss = cross_entropies(logits_B1, real=True).mean()
        return {"generator": loss, LOSS: loss}, {_GENERATED: generated.detach()}


class DiscriminatorObjective(Objective):
    """The discriminator's cross-entropy: normal images against real, generated ones against fake.

    Args:
        discriminator: which is trained.
    """

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the mean cross-entropies of both, and the sum of these."""
        real = cross_entropies(self.discriminator(batch["x"])[0], real=True).mean()
        fake = cross_entropies(self.discriminator(batch[_GENERATED])[0], real=False).mean()
        return {"discriminator/real": real, "discriminator/fake": fake, LOSS: real + fake}, {}
