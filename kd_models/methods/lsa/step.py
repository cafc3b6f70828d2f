"""AND (Abati et al., CVPR 2019): network, objective and score.

Shapes: B images in a batch, N training images, C image channels, S pixels a side, Z latent numbers,
K bins.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer, over_images
from kd_models.methods.base import CannotTrain, Learner, PackContext, seeded
from kd_models.methods.errors import squared_error
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.lsa.estimator import Estimator, EstimatorSettings
from kd_models.methods.lsa.losses import smooth_surprisal, surprisal
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective
from kd_models.methods.trained import NetworkDetector, NetworkStep
from kd_models.world import World

PARTS = ("rec", "nll")
"""of loss and score: the squared error of the reconstruction, and -log p(z)"""


class Lsa(nn.Module):
    """An auto-encoder, and an estimator of how its latents are distributed.

    Args:
        networks: shapes of encoder and decoder.
        estimator: the size of the estimator.
    """

    low: Tensor
    span: Tensor

    def __init__(self, networks: ConvNetworks, estimator: EstimatorSettings) -> None:
        super().__init__()
        self.encoder = networks.encoder()
        self.decoder = networks.decoder()
        self.estimator = Estimator(networks.latent, estimator)
        self.register_buffer("low", torch.zeros(len(PARTS)))
        self.register_buffer("span", torch.ones(len(PARTS)))

    def forward(self, x_BCSS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``(squared error (B,), latent (B, Z), logits of its bins (B, Z, K))``."""
        z_BZ = self.encoder(x_BCSS)[0].sigmoid()
        return squared_error(x_BCSS, self.decoder(z_BZ)), z_BZ, self.estimator(z_BZ)

    def normalise(self, parts_N2: Tensor) -> None:
        """Fit the score's scales to both parts of the normal images (N, 2).

        Raises:
            CannotTrain: a part is the same for all images.
        """
        low, high = parts_N2.aminmax(dim=0)
        if not (high > low).all():
            raise CannotTrain(
                "reconstruction or likelihood is the same for all training images: "
                "scores cannot be normalised"
            )
        self.low.copy_(low)
        self.span.copy_(high - low)


class LsaScorer(Scorer):
    """The novelty score: the sum of both parts, each from 0 to 1 for the normal images."""

    student: Lsa

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        lsa = self.student
        scores: Tensor = ((self.parts(x_BCSS) - lsa.low) / lsa.span).sum(1)
        return scores

    def parts(self, x_BCSS: Tensor) -> Tensor:
        """Return both parts (B, 2) as they are before they are normalised."""
        rec, z_BZ, logits_BZK = self.student(x_BCSS)
        return torch.stack([rec, smooth_surprisal(z_BZ, logits_BZK)], 1)


class LsaObjective(WeightedObjective):
    """The reconstruction's error plus lambda times the latent's negative log-likelihood.

    Args:
        lsa: what is trained.
        nll_weight: lambda.
    """

    def __init__(self, lsa: Lsa, nll_weight: float) -> None:
        super().__init__(dict(zip(PARTS, (1.0, nll_weight), strict=True)))
        self.lsa = lsa

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the means over the batch of both parts."""
        rec, z_BZ, logits_BZK = self.lsa(batch["x"])
        parts = (rec.mean(), surprisal(z_BZ, logits_BZK).mean())
        terms = dict(zip(PARTS, parts, strict=True))
        return {**terms, LOSS: self.weighted_sum(terms)}, {}


class LsaDetector(NetworkDetector):
    """An auto-encoder with an estimator of its latents."""

    method: Literal["lsa"] = "lsa"
    estimator: EstimatorSettings

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        return LsaScorer(Lsa(self.networks, self.estimator))


class LsaStep(NetworkStep):
    """The training of auto-encoder and estimator."""

    estimator: EstimatorSettings
    nll_weight: float = 1.0
    """lambda"""

    title: ClassVar[str] = "lsa"

    @property
    def detector(self) -> LsaDetector:
        """Return the detector that the step makes."""
        return LsaDetector(networks=self.networks, estimator=self.estimator)

    @property
    def lane_group(self) -> Self:
        """Return the step with the default weight."""
        return self.model_copy(update={"nll_weight": 1.0})

    def learner(self, seed: int, context: PackContext) -> "LsaLearner":
        """Return a learner."""
        return LsaLearner(self, seed)


class LsaLearner(Learner):
    """Auto-encoder and estimator, with what trains and scores them.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: LsaStep, seed: int) -> None:
        self._nll_weight = step.nll_weight
        self._lsa = seeded(seed, lambda: Lsa(step.networks, step.estimator))
        super().__init__({DETECTOR: self._lsa})

    def objectives(self) -> Sequence[LsaObjective]:
        """Return the one objective: encoder, decoder and estimator are trained together."""
        return (LsaObjective(self._lsa, self._nll_weight),)

    def calibrate(self, images: Tensor, world: World) -> None:
        """Fit the score's scales to the training images (N, C, S, S)."""
        self._lsa.normalise(over_images(self.scorer().parts, images, world))

    def scorer(self) -> LsaScorer:
        """Return the scorer."""
        return LsaScorer(self._lsa.eval())
