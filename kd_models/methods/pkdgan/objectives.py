"""What P-KDGAN minimises: L_g and K_l by one optimizer, L_d by another."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call

from kd_models.methods.networks import Discriminator
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective
from kd_models.methods.pkdgan.losses import (
    Distance,
    cross_entropy,
    distillation_terms,
    gan_terms,
)
from kd_models.methods.pkdgan.networks import Generator, Reconstruction
from kd_models.methods.pkdgan.structures import Structure, Term
from kd_models.values import Value


class GanWeights(Value):
    """w_con, w_enc and w_adv of L_g (P-KDGAN, Eq. 5)."""

    con: float = 10.0
    enc: float = 1.0
    adv: float = 1.0


class DistillationWeights(Value):
    """w_1, w_x and w_2 of K_l (P-KDGAN, Eq. 6)."""

    k1: float = 1.0
    kx: float = 1.0
    k2: float = 1.0


class GeneratorObjective(WeightedObjective):
    """L_g of every generator that trains on its own losses, plus K_l.

    Args:
        structure: which losses are in use.
        generators: by role, ``teacher`` and / or ``student``: those that train here.
        critics: by role, the discriminators whose features S_adv compares. They are read, not
            trained: gradients pass through them but stop short of their weights, so that they
            can belong to another optimizer and another DDP wrapper.
        gan_weights: by role.
        joint_teacher: whether K_l also trains a teacher that trains (default no: docs/adr/0001).
    """

    def __init__(
        self,
        structure: Structure,
        generators: Mapping[str, Generator],
        critics: Mapping[str, Discriminator],
        gan_weights: Mapping[str, GanWeights],
        distillation_weights: DistillationWeights,
        distance: Distance,
        joint_teacher: bool = False,
    ) -> None:
        distils = Term.KL in structure.terms
        weights = {
            f"{role}/{term}": weight
            for role in critics
            for term, weight in gan_weights[role].model_dump().items()
        }
        if distils:
            weights |= {f"kd/{term}": w for term, w in distillation_weights.model_dump().items()}
        super().__init__(weights)
        self.generators = nn.ModuleDict(generators)
        # In a tuple, so that torch registers no parameters of theirs here.
        self._critics = tuple(critics.items())
        self._distils = distils
        self._distance: Distance = distance
        self._joint_teacher = joint_teacher

    @property
    def reads(self) -> list[nn.Module]:
        """Return the critics."""
        return [critic for _, critic in self._critics]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the terms of L_g and K_l, and what the discriminators need."""
        x = batch["x"]
        made = {role: generator(x) for role, generator in self.generators.items()}
        terms: dict[str, Tensor] = {}
        handed_on = {f"{role}/x_hat": m.x_hat_BCSS.detach() for role, m in made.items()}
        for role, critic in self._critics:
            # D(x) runs once a step. It does not depend on the generator, and D is not updated
            # before its own objective, which takes this logit and its gradients from here.
            handed_on[f"{role}/real_logit"], f_x = critic(x)
            f_x_hat = _features(critic, made[role].x_hat_BCSS)
            own = gan_terms(x, made[role], f_x.detach(), f_x_hat, self._distance)
            terms |= {f"{role}/{name}": term for name, term in own.items()}
        if self._distils:
            teacher = made["teacher"] if "teacher" in made else fixed_targets(batch)
            if not self._joint_teacher:
                teacher = Reconstruction(*(t.detach() for t in teacher))
            shared = distillation_terms(made["student"], teacher, self._distance)
            terms |= {f"kd/{name}": term for name, term in shared.items()}
        terms[LOSS] = self.weighted_sum(terms)
        return terms, handed_on


class DiscriminatorObjective(WeightedObjective):
    """L_d: mean cross-entropy of each discriminator on real and reconstructed images."""

    def __init__(self, discriminators: Mapping[str, Discriminator]) -> None:
        super().__init__(
            {f"{role}/{term}": 0.5 for role in discriminators for term in ("ce_real", "ce_fake")}
        )
        self.discriminators = nn.ModuleDict(discriminators)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return both cross-entropies of each discriminator."""
        terms: dict[str, Tensor] = {}
        for role, discriminator in self.discriminators.items():
            terms[f"{role}/ce_real"] = cross_entropy(batch[f"{role}/real_logit"], real=True)
            fake_logit = discriminator(batch[f"{role}/x_hat"])[0]
            terms[f"{role}/ce_fake"] = cross_entropy(fake_logit, real=False)
        terms[LOSS] = self.weighted_sum(terms)
        return terms, {}


def _features(critic: Discriminator, x: Tensor) -> Tensor:
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    features: Tensor = functional_call(critic, frozen, (x,))[1]
    return features


TARGET_KEYS = ("target/z1", "target/x_hat", "target/z2")


def fixed_targets(batch: Batch) -> Reconstruction:
    """Return a fixed teacher's outputs for the batch, computed by pkdgan.GanLearner.targets."""
    return Reconstruction(*(batch[key] for key in TARGET_KEYS))
