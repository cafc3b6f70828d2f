"""What GANomaly minimises: L by one optimizer, the discriminator's cross-entropy by another.

Shapes: B images in a batch.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from kd_models.methods.adversarial import cross_entropies
from kd_models.methods.ganomaly.losses import Distance, gan_terms
from kd_models.methods.ganomaly.networks import Generator, Reconstruction
from kd_models.methods.networks import Discriminator
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective, run_fixed
from kd_models.values import Value


class GanomalyWeights(Value):
    """w_con, w_enc and w_adv of L (Eq. 4; Section 4.2)."""

    con: float = 50.0
    enc: float = 1.0
    adv: float = 1.0


def generator_terms(
    x: Tensor, made: Reconstruction, critic: Discriminator, kind: Distance
) -> tuple[dict[str, Tensor], Tensor]:
    """Return L_con, L_enc and L_adv, each a scalar, and the discriminator's logits (B, 1) of x.

    D(x) runs once a step. It does not depend on the generator, and D is not updated before its own
    objective, which takes this logit and its gradients from here.

    Args:
        x: images.
        made: what a generator made of them.
        critic: the discriminator whose features are compared. It is read, not trained.
        kind: how distances are read.
    """
    real_logit, f_x = critic(x)
    _, f_x_hat = run_fixed(critic, made.x_hat_BCSS)
    return gan_terms(x, made, f_x.detach(), f_x_hat, kind), real_logit


class GeneratorObjective(WeightedObjective):
    """L of one generator (Eq. 4).

    Args:
        role: its name in the batch.
        generator: the generator.
        critic: its discriminator.
        weights: of the terms.
        distance: how they are read.
    """

    def __init__(
        self,
        role: str,
        generator: Generator,
        critic: Discriminator,
        weights: GanomalyWeights,
        distance: Distance,
    ) -> None:
        super().__init__(weights.model_dump())
        self.generator = generator
        self._role, self._distance = role, distance
        # In a tuple, so that torch registers no parameters of it here.
        self._critic = (critic,)

    @property
    def reads(self) -> tuple[nn.Module, ...]:
        """Return the discriminator."""
        return self._critic

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the terms of L, and what the discriminator needs."""
        x = batch["x"]
        made = self.generator(x)
        terms, real_logit = generator_terms(x, made, self._critic[0], self._distance)
        terms[LOSS] = self.weighted_sum(terms)
        handed_on = {
            f"{self._role}/x_hat": made.x_hat_BCSS.detach(),
            f"{self._role}/real_logit": real_logit,
        }
        return terms, handed_on


class DiscriminatorObjective(WeightedObjective):
    """Mean cross-entropy of discriminators on real and reconstructed images.

    Args:
        discriminators: by the name that their generators have in the batch.
    """

    def __init__(self, discriminators: Mapping[str, Discriminator]) -> None:
        super().__init__(
            {f"{role}/{term}": 0.5 for role in discriminators for term in ("ce_real", "ce_fake")}
        )
        self.discriminators = nn.ModuleDict(discriminators)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return both cross-entropies of each discriminator."""
        terms: dict[str, Tensor] = {}
        for role, discriminator in self.discriminators.items():
            real_logit = batch[f"{role}/real_logit"]
            fake_logit = discriminator(batch[f"{role}/x_hat"])[0]
            terms[f"{role}/ce_real"] = cross_entropies(real_logit, real=True).mean()
            terms[f"{role}/ce_fake"] = cross_entropies(fake_logit, real=False).mean()
        terms[LOSS] = self.weighted_sum(terms)
        return terms, {}
