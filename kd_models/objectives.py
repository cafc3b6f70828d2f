"""What is minimised: one module for each optimizer.

An objective's ``forward(batch)`` returns ``(terms, made)``: every loss term under its own name
with their weighted sum under ``loss``, and tensors that the next objective of the same step reads
from the batch. Each is run forward once per backward, which is what lets DDP wrap it.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kd_models.losses import (
    Distance,
    cross_entropy,
    distillation_terms,
    feature_distances,
    gan_terms,
)
from kd_models.networks.gan import Discriminator, Generator, Reconstruction
from kd_models.structures import Structure, Term
from kd_models.values import Value

Batch = dict[str, Tensor]
"""``x`` (B, C, S, S), and by name what objectives and fixed teachers hand on."""

LOSS = "loss"


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


class _Weighted(nn.Module):
    """An objective that weighs its terms. Weights are tensors, so that lanes may differ in them."""

    _weights: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self._names = tuple(weights)
        self.register_buffer("_weights", torch.tensor(list(weights.values())), persistent=False)

    def _weighted_sum(self, terms: Mapping[str, Tensor]) -> Tensor:
        return (self._weights * torch.stack([terms[name] for name in self._names])).sum()


class GeneratorObjective(_Weighted):
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
        """The networks that are run here and trained by another objective."""
        return [critic for _, critic in self._critics]

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        x = batch["x"]
        made = {role: generator(x) for role, generator in self.generators.items()}
        terms: dict[str, Tensor] = {}
        handed_on = {f"{role}/x_hat": m.x_hat_BCSS.detach() for role, m in made.items()}
        for role, critic in self._critics:
            # D(x) once a step: no weight of the generator has a part in it, and D's own do not
            # change before its objective, whose gradients pass through this logit.
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
        terms[LOSS] = self._weighted_sum(terms)
        return terms, handed_on


class DiscriminatorObjective(_Weighted):
    """L_d: mean cross-entropy of each discriminator on real and reconstructed images."""

    def __init__(self, discriminators: Mapping[str, Discriminator]) -> None:
        super().__init__(
            {f"{role}/{term}": 0.5 for role in discriminators for term in ("ce_real", "ce_fake")}
        )
        self.discriminators = nn.ModuleDict(discriminators)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        terms: dict[str, Tensor] = {}
        for role, discriminator in self.discriminators.items():
            terms[f"{role}/ce_real"] = cross_entropy(batch[f"{role}/real_logit"], real=True)
            fake_logit = discriminator(batch[f"{role}/x_hat"])[0]
            terms[f"{role}/ce_fake"] = cross_entropy(fake_logit, real=False)
        terms[LOSS] = self._weighted_sum(terms)
        return terms, {}


def _features(critic: Discriminator, x: Tensor) -> Tensor:
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    features: Tensor = functional_call(critic, frozen, (x,))[1]
    return features


TARGET_KEYS = ("target/z1", "target/x_hat", "target/z2")


def fixed_targets(batch: Batch) -> Reconstruction:
    """A fixed teacher's outputs for the batch, computed beforehand (pkdgan.GanLearner.targets)."""
    return Reconstruction(*(batch[key] for key in TARGET_KEYS))


class FeatureObjective(_Weighted):
    """Eq. 13 of ECA_MKDAD: the student's distillation layers against a fixed teacher's.

    Args:
        student: images to the maps of all its layers.
        layers: which of them are distilled, from 1.
        lambda_: weight of the direction (cosine) beside the value (squared difference).
        teach: images to a fixed teacher's maps of ``layers``, for batches that come without.
            Not a module of this one: nothing of it is trained.
    """

    def __init__(
        self,
        student: nn.Module,
        layers: Sequence[int],
        lambda_: float,
        teach: Callable[[Tensor], Sequence[Tensor]],
    ) -> None:
        parts = {"value": 1.0, "direction": lambda_}
        super().__init__({f"{part}/{layer}": parts[part] for layer in layers for part in parts})
        self.student = student
        self._layers = tuple(layers)
        self._teach = teach

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        maps = self.student(batch["x"])
        keys = [layer_key(layer) for layer in self._layers]
        taught = [batch[key] for key in keys] if keys[0] in batch else self._teach(batch["x"])
        terms: dict[str, Tensor] = {}
        for layer, teacher in zip(self._layers, taught, strict=True):
            value, direction = feature_distances(teacher, maps[layer - 1])
            terms |= {f"value/{layer}": value.mean(), f"direction/{layer}": direction.mean()}
        terms[LOSS] = self._weighted_sum(terms)
        return terms, {}


def layer_key(layer: int) -> str:
    """Name a fixed teacher's map of a distillation layer in a batch."""
    return f"target/{layer}"
