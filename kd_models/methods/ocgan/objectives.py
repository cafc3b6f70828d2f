"""What OCGAN minimises (Algorithm 1): classifier, discriminators, auto-encoder, in this order.

The auto-encoder runs once in a step, in the first objective, with gradients that only the last one
uses: it does not change in between.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_models.methods.adversarial import cross_entropies
from kd_models.methods.errors import mean_squared_error
from kd_models.methods.networks import Discriminator
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective, run_aside
from kd_models.methods.ocgan.mining import Mining, mine
from kd_models.methods.ocgan.networks import AutoEncoder, LatentDiscriminator

NOISE = "noise"
"""n / its deviation, standard normal, (B, C, S, S)"""
UNIFORM = "uniform"
"""from 0 to 1, (B, Z): what random latents are made of"""

_ENCODED, _RECONSTRUCTED = "made/latent", "made/x_hat"
_RANDOM, _FAKE = "made/random_latent", "made/fake"


class ClassifierObjective(WeightedObjective):
    """l_classifier: C tells reconstructions from images of random latents.

    Args:
        classifier: C.
        auto_encoder: En and De; read.
        noise: deviation of what is added to the images.
    """

    def __init__(self, classifier: Discriminator, auto_encoder: AutoEncoder, noise: float) -> None:
        super().__init__({"c_rec": 0.5, "c_fake": 0.5})
        self.classifier = classifier
        # In a tuple, so that torch registers no parameters of it here.
        self._auto_encoder = (auto_encoder,)
        self._noise = noise

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the auto-encoder."""
        return self._auto_encoder

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return both cross-entropies, and what the auto-encoder made."""
        (auto_encoder,) = self._auto_encoder
        latent, x_hat = auto_encoder(batch["x"] + self._noise * batch[NOISE])
        random = 2 * batch[UNIFORM] - 1
        fake = run_aside(auto_encoder.decoder, random, fixed=True)
        terms = {
            "c_rec": cross_entropies(self.classifier(x_hat.detach())[0], real=True).mean(),
            "c_fake": cross_entropies(self.classifier(fake)[0], real=False).mean(),
        }
        terms[LOSS] = self.weighted_sum(terms)
        made = {_ENCODED: latent, _RECONSTRUCTED: x_hat, _RANDOM: random, _FAKE: fake}
        return terms, made


class DiscriminatorsObjective(WeightedObjective):
    """l_latent and l_visual for the discriminators.

    Args:
        latent: D_l, of random latents and encoded ones.
        visual: D_v, of normal images and those of random latents.
    """

    def __init__(self, latent: LatentDiscriminator, visual: Discriminator) -> None:
        super().__init__(dict.fromkeys(("dl_random", "dl_encoded", "dv_x", "dv_fake"), 0.5))
        self.latent, self.visual = latent, visual

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return both cross-entropies of both discriminators."""
        encoded = batch[_ENCODED].detach()
        terms = {
            "dl_random": cross_entropies(self.latent(batch[_RANDOM]), real=True).mean(),
            "dl_encoded": cross_entropies(self.latent(encoded), real=False).mean(),
            "dv_x": cross_entropies(self.visual(batch["x"])[0], real=True).mean(),
            "dv_fake": cross_entropies(self.visual(batch[_FAKE])[0], real=False).mean(),
        }
        terms[LOSS] = self.weighted_sum(terms)
        return terms, {}


class AutoEncoderObjective(WeightedObjective):
    """lambda l_MSE, and l_latent and l_visual with the labels exchanged.

    Args:
        auto_encoder: En and De.
        latent: D_l; read.
        visual: D_v; read.
        classifier: C, by which latents are mined; read.
        reconstruction_weight: lambda.
        mining: how the latents of l_visual are mined; None for random ones.
    """

    def __init__(
        self,
        auto_encoder: AutoEncoder,
        latent: LatentDiscriminator,
        visual: Discriminator,
        classifier: Discriminator,
        *,
        reconstruction_weight: float,
        mining: Mining | None,
    ) -> None:
        super().__init__({"rec": reconstruction_weight, "latent": 1.0, "visual": 1.0})
        self.auto_encoder = auto_encoder
        self._read = (latent, visual, classifier)
        self._mining = mining

    @property
    def reads(self) -> Sequence[nn.Module]:
        """Return the discriminators and the classifier."""
        return self._read

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the three terms."""
        latent, visual, classifier = self._read
        decoder = self.auto_encoder.decoder
        z = batch[_RANDOM]
        if self._mining is not None:
            z = mine(decoder, classifier, z, self._mining)
        judged = run_aside(visual, run_aside(decoder, z, fixed=False), fixed=True)
        encoded = run_aside(latent, batch[_ENCODED], fixed=True)
        terms = {
            "rec": mean_squared_error(batch["x"], batch[_RECONSTRUCTED]).mean(),
            "latent": cross_entropies(encoded, real=True).mean(),
            "visual": cross_entropies(judged, real=True).mean(),
        }
        terms[LOSS] = self.weighted_sum(terms)
        return terms, {}
