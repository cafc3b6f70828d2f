"""The memory-augmented auto-encoder: network, objective and score.

Shapes: B images in a batch, C image channels, S pixels a side, N items of memory.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Learner, PackContext, seeded
from kd_models.methods.errors import squared_error
from kd_models.methods.fitted import DETECTOR
from kd_models.methods.memae.losses import entropy
from kd_models.methods.memae.memory import Memory
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.objectives import LOSS, Batch, Objective, WeightedObjective
from kd_models.methods.trained import NetworkDetector, NetworkStep
from kd_models.values import Count

Threshold = Annotated[float, Field(ge=0, le=3)]
"""lambda, the threshold of the weights, as a multiple of 1/N"""

EntropyWeight = Annotated[float, Field(ge=0)]
"""alpha"""


class Memae(nn.Module):
    """Encoder to a query, memory, and decoder from what the memory holds of it.

    Args:
        networks: the shapes of encoder and decoder.
        memory: N.
        shrinkage: of the memory's weights.
    """

    def __init__(self, networks: ConvNetworks, memory: int, shrinkage: float) -> None:
        super().__init__()
        self.encoder = networks.encoder()
        self.memory = Memory(memory, networks.latent, shrinkage)
        self.decoder = networks.decoder()

    def forward(self, x_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction errors (B,) and the memory's weights (B, N)."""
        read_BZ, weights_BN = self.memory(self.encoder(x_BCSS)[0])
        return squared_error(x_BCSS, self.decoder(read_BZ)), weights_BN


class MemaeScorer(Scorer):
    """How badly an image is reconstructed from the memory."""

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores (B,)."""
        scores: Tensor = self.student(x_BCSS)[0]
        return scores


class MemaeObjective(WeightedObjective):
    """The reconstruction error, and alpha times the entropy of the memory's weights.

    Args:
        memae: the network.
        entropy_weight: alpha.
    """

    def __init__(self, memae: Memae, entropy_weight: float) -> None:
        super().__init__({"rec": 1.0, "entropy": entropy_weight})
        self.memae = memae

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Batch]:
        """Return the means over the batch of both terms."""
        rec, weights_BN = self.memae(batch["x"])
        terms = {"rec": rec.mean(), "entropy": entropy(weights_BN).mean()}
        return {**terms, LOSS: self.weighted_sum(terms)}, {}


class MemaeDetector(NetworkDetector):
    """A memory-augmented auto-encoder."""

    method: Literal["memae"] = "memae"
    memory: Count
    shrinkage: Threshold

    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""
        return MemaeScorer(Memae(self.networks, self.memory, self.shrinkage))


class MemaeStep(NetworkStep):
    """The training of a memory-augmented auto-encoder."""

    title: ClassVar[str] = "memae"

    memory: Count
    shrinkage: Threshold
    entropy_weight: EntropyWeight

    @property
    def detector(self) -> MemaeDetector:
        """Return the detector that the step makes."""
        return MemaeDetector(networks=self.networks, memory=self.memory, shrinkage=self.shrinkage)

    @property
    def lane_group(self) -> Self:
        """Return the step with a weight that stands for all: the objective holds it as a buffer."""
        return self.model_copy(update={"entropy_weight": 0.0})

    def learner(self, seed: int, context: PackContext) -> "MemaeLearner":
        """Return a learner."""
        return MemaeLearner(self, seed)


class MemaeLearner(Learner):
    """A memory-augmented auto-encoder with what trains and scores it.

    Args:
        step: the step.
        seed: of the initial weights.
    """

    def __init__(self, step: MemaeStep, seed: int) -> None:
        self._entropy_weight = step.entropy_weight
        self._memae = seeded(seed, lambda: Memae(step.networks, step.memory, step.shrinkage))
        super().__init__({DETECTOR: self._memae})

    def objectives(self) -> Sequence[Objective]:
        """Return the one objective."""
        return (MemaeObjective(self._memae, self._entropy_weight),)

    def scorer(self) -> MemaeScorer:
        """Return the scorer."""
        return MemaeScorer(self._memae.eval())
