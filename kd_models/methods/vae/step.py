"""The variational auto-encoder: network, objective and score.

Shapes: B images in a batch, C image channels, S pixels a side, Z latent numbers.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Learner, PackContext, seeded
from kd_models.methods.draws import Draw
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.objectives import LOSS, Batch, Objective
from kd_models.methods.trained import NetworkDetector, NetworkStep
from kd_models.methods.vae.losses import divergence, reconstruction

NOISE = "noise"
"""epsilon ~ N(0, 1) of the reparametrisation (Eq. 4), (B, Z)"""


class Vae(nn.Module):
    """Encoder to mean and log variance of q(z | x), and decoder to the mean of p(x | z).

    Args:
        networks: their shapes.
    """

    def __init__(self, networks: ConvNetworks) -> None:
        super().__init__()
        self.encoder = networks.encoder(2 * networks.latent)
        self.decoder = networks.decoder()

    def forward(self, x_BCSS: Tensor, noise_BZ: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return both parts of the negative bound for each image, (B,) each.

        Args:
            x_BCSS: the images.
            noise_BZ: of the sample z = mean + noise * deviation; None: z is the mean.
        """
        mean_BZ, log_variance_BZ = self.encoder(x_BCSS)[0].chunk(2, 1)
        z_BZ = mean_BZ
        if noise_BZ is not None:
            z_BZ = mean_BZ + noise_BZ * (log_variance_BZ / 2).exp()
        return (
            reconstruction(x_BCSS, self.decoder(z_BZ)),
            divergence(mean_BZ, log_variance_BZ),
        )


class VaeScorer(Scorer):
    """The negative bound on an image's likelihood, at the mean of q(z | x)."""

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        rec, kl = self.student(x_BCSS)
        scores: Tensor = rec + kl
        return scores


class VaeObjective(Objective):
    """The negative bound, of one sample z for each image (Eq. 10 with L = 1)."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the means over the batch of both parts."""
        rec, kl = (part.mean() for part in self.vae(batch["x"], batch[NOISE]))
        return {"rec": rec, "kl": kl, LOSS: rec + kl}, {}


class VaeDetector(NetworkDetector):
    """A variational auto-encoder."""

    method: Literal["vae"] = "vae"

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        return VaeScorer(Vae(self.networks))


class VaeStep(NetworkStep):
    """The training of a variational auto-encoder."""

    title: ClassVar[str] = "vae"

    @property
    def detector(self) -> VaeDetector:
        """Return the detector that the step makes."""
        return VaeDetector(networks=self.networks)

    def learner(self, seed: int, context: PackContext) -> "VaeLearner":
        """Return a learner."""
        return VaeLearner(self, seed)


class VaeLearner(Learner):
    """A variational auto-encoder with what trains and scores it.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: VaeStep, seed: int) -> None:
        self._latent = step.networks.latent
        self._vae = seeded(seed, lambda: Vae(step.networks))
        super().__init__({DETECTOR: self._vae})

    def draws(self) -> Mapping[str, Draw]:
        """Return the noise of the samples."""
        return {NOISE: Draw((self._latent,))}

    def objectives(self) -> Sequence[Objective]:
        """Return the negative bound."""
        return (VaeObjective(self._vae),)

    def scorer(self) -> VaeScorer:
        """Return the scorer."""
        return VaeScorer(self._vae.eval())
