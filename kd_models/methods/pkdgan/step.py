"""P-KDGAN (IJCAI 2020): the networks and objectives of one training step of a structure."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from kd_models.evaluation.scoring import over_images
from kd_models.methods.base import Learner, NetworkStates, PackContext, Step
from kd_models.methods.draws import stream
from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import Generator, NetworkConfig
from kd_models.methods.ganomaly.objectives import DiscriminatorObjective
from kd_models.methods.networks import LATENT, Discriminator
from kd_models.methods.objectives import Batch, Objective
from kd_models.methods.pkdgan.objectives import (
    TARGET_KEYS,
    DistillationWeights,
    GanWeights,
    GeneratorObjective,
)
from kd_models.methods.pkdgan.scores import GanDetector, NoveltyScorer
from kd_models.methods.pkdgan.structures import STRUCTURES, Structure, Term
from kd_models.world import World


class StepConfig(Step):
    """One training step of a structure.

    A role that the structure does not use is None, and so are weights of losses not in use:
    two steps that train the same thing have the same config.
    """

    structure: str
    teacher: NetworkConfig | None = None
    student: NetworkConfig | None = None
    teacher_weights: GanWeights | None = None
    student_weights: GanWeights | None = None
    distillation_weights: DistillationWeights | None = None
    distance: Distance = "l2"
    joint_teacher: bool = False
    """whether K_l also trains a teacher that trains (the paper leaves it open)"""

    own_seed: int | None = Field(default=None, exclude=True)
    """the seed for all candidates, where it is one for all; no part of what is trained"""

    axis: ClassVar[str] = "structure"

    @property
    def name(self) -> str:
        """Return the name of the structure."""
        return self.structure

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """Return whose generator the structure is run for."""
        return STRUCTURES[self.structure].scored

    @property
    def scored(self) -> str:
        """Return the name of that generator."""
        return f"{self.kind}.generator"

    @property
    def detector(self) -> GanDetector:
        """Return the detector that the step makes."""
        network = self.student if self.kind == "student" else self.teacher
        assert network is not None
        return GanDetector(network=network, distance=self.distance)

    def seed_of(self, seed: int) -> int:
        """Return the step's own seed, if it has one, or else the candidate's."""
        return seed if self.own_seed is None else self.own_seed

    @property
    def lane_group(self) -> Self:
        """Return the step with default weights."""
        return self.model_copy(
            update={
                name: None if getattr(self, name) is None else default
                for name, default in (
                    ("teacher_weights", GanWeights()),
                    ("student_weights", GanWeights()),
                    ("distillation_weights", DistillationWeights()),
                )
            }
        )

    @property
    def targets_key(self) -> NetworkConfig | None:
        """Return the teacher's settings."""
        return self.teacher

    def learner(self, seed: int, context: PackContext) -> "GanLearner":
        """Return a learner; pkdgan has no pretrained teacher."""
        return GanLearner(self, seed)


class GanLearner(Learner):
    """The networks of one step with what trains and scores them.

    Args:
        config: the step.
        seed: seeds the initial weights; teacher and student draw from streams of their own.
    """

    def __init__(self, config: StepConfig, seed: int) -> None:
        self.config = config
        self.structure: Structure = STRUCTURES[config.structure]
        self._generators: dict[str, Generator] = {}
        self._discriminators: dict[str, Discriminator] = {}
        for role, network, adversarial in (
            ("teacher", config.teacher, self.structure.trains_teacher),
            ("student", config.student, Term.LD_S in self.structure.terms),
        ):
            if network is None:
                continue
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream(f"{seed}/{role}"))
                self._generators[role] = network.generator()
                if adversarial:
                    self._discriminators[role] = network.discriminator()
        fixed = () if self.structure.trains_teacher else ("teacher.generator",)
        super().__init__({n: net for n, net in self.networks.items() if n not in fixed})

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Return every network by name, ``student.generator`` and so on, a fixed teacher too."""
        return {
            **{f"{role}.generator": g for role, g in self._generators.items()},
            **{f"{role}.discriminator": d for role, d in self._discriminators.items()},
        }

    def load(self, weights: NetworkStates) -> None:
        """Start from earlier steps' networks, given as state dicts by name.

        Networks that are not given keep their initial weights; those the step lacks are ignored.
        """
        for name, network in self.networks.items():
            if name in weights:
                network.load_state_dict(dict(weights[name]))

    def objectives(self) -> list[Objective]:
        """Return what is minimised at every step, in order; each has an optimizer of its own."""
        config = self.config
        roles = ("student",) * self.structure.trains_student
        roles += ("teacher",) * self.structure.trains_teacher
        weights = {"teacher": config.teacher_weights, "student": config.student_weights}
        objectives: list[Objective] = [
            GeneratorObjective(
                self.structure,
                {role: self._generators[role] for role in roles},
                self._discriminators,
                {role: w for role, w in weights.items() if w is not None},
                config.distillation_weights or DistillationWeights(),
                config.distance,
                config.joint_teacher,
            )
        ]
        if self._discriminators:
            objectives.append(DiscriminatorObjective(self._discriminators))
        return objectives

    def targets(self, images: Tensor, world: World) -> Batch:
        """Return a fixed teacher's outputs for ``images`` (N, C, S, S), computed once.

        The teacher is in evaluation mode, so an image's target does not depend on its batch.
        Empty where no fixed teacher is in use.
        """
        if not self.structure.distils or self.structure.trains_teacher:
            return {}
        teacher = self._generators["teacher"].to(world.device).eval()

        def flat(x: Tensor) -> Tensor:
            return torch.cat([part.flatten(1) for part in teacher(x)], 1)

        outputs = over_images(flat, images, world)
        z1, x_hat, z2 = outputs.split([LATENT, images[0].numel(), LATENT], dim=1)
        parts = (z1.contiguous(), x_hat.reshape(images.shape), z2.contiguous())
        return dict(zip(TARGET_KEYS, parts, strict=True))

    def scorer(self) -> NoveltyScorer:
        """Return what scores images by the network of interest, in evaluation mode."""
        generator = self._generators[self.structure.scored]
        return NoveltyScorer(generator.eval(), self.config.distance)
