"""What P-KDGAN minimises beside L_d: L_g and K_l, by one optimizer."""

from collections.abc import Mapping

from torch import Tensor, nn

from kd_models.methods.ganomaly import objectives as ganomaly
from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import Generator, Reconstruction
from kd_models.methods.networks import Discriminator
from kd_models.methods.objectives import LOSS, Batch, WeightedObjective
from kd_models.methods.pkdgan.losses import distillation_terms
from kd_models.methods.pkdgan.structures import Structure, Term
from kd_models.values import Value


class GanWeights(ganomaly.GanomalyWeights):
    """w_con, w_enc and w_adv of L_g (P-KDGAN, Eq. 5)."""

    con: float = 10.0


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
            trained.
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
            own, real_logit = ganomaly.generator_terms(x, made[role], critic, self._distance)
            handed_on[f"{role}/real_logit"] = real_logit
            terms |= {f"{role}/{name}": term for name, term in own.items()}
        if self._distils:
            teacher = made["teacher"] if "teacher" in made else fixed_targets(batch)
            if not self._joint_teacher:
                teacher = Reconstruction(*(t.detach() for t in teacher))
            shared = distillation_terms(made["student"], teacher, self._distance)
            terms |= {f"kd/{name}": term for name, term in shared.items()}
        terms[LOSS] = self.weighted_sum(terms)
        return terms, handed_on


TARGET_KEYS = ("target/z1", "target/x_hat", "target/z2")


def fixed_targets(batch: Batch) -> Reconstruction:
    """Return a fixed teacher's outputs for the batch, computed by pkdgan.GanLearner.targets."""
    return Reconstruction(*(batch[key] for key in TARGET_KEYS))
