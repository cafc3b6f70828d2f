"""What a training step of any method is to those who plan, run, store and deploy it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from kd_models.objectives import Batch
from kd_models.scoring import Scorer, score
from kd_models.values import Value
from kd_models.world import World

Weights = Mapping[str, Tensor]
"""a state dict"""


class Learner(ABC):
    """The networks of one step with what trains and scores them."""

    @property
    @abstractmethod
    def trained(self) -> Mapping[str, nn.Module]:
        """The networks that this step trains, by name."""

    @abstractmethod
    def load(self, weights: Mapping[str, Weights]) -> None:
        """Start from earlier steps' networks, by name; those the step lacks are ignored."""

    @abstractmethod
    def objectives(self) -> list[nn.Module]:
        """What is minimised at every step, in order; one optimizer each."""

    def targets(self, images: Tensor, world: World) -> Batch:
        """Return what a fixed teacher says of training images (N, C, S, S), computed once."""
        return {}

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return what a fixed teacher says of images (N, C, S, S) that will be scored often."""
        return {}

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return what scores images, sharing the learner's networks, in evaluation mode."""

    def score(self, images: Tensor, world: World, targets: Batch | None = None) -> Tensor:
        """Return the novelty scores (N,) of images, given their :meth:`scoring_targets` or not."""
        modes = {network: network.training for network in self.trained.values()}
        scores = score(self.scorer(), images, world, targets or {})
        for network, training in modes.items():
            network.train(training)
        return scores


@dataclass(frozen=True, eq=False)
class Fixed:
    """What the steps of a pack are given besides their settings; none of it is trained."""

    teacher: Weights | None = None
    """pretrained weights, where :attr:`Step.pretrained` asks for them"""
    cache_bytes: int | None = None
    """most memory for a fixed teacher's outputs in this process; None for no limit"""
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False)
    _used: list[int] = field(default_factory=list, init=False)

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what ``make`` made when it was first asked for under this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def cache_left(self) -> int | None:
        return None if self.cache_bytes is None else self.cache_bytes - sum(self._used)

    def use(self, size: int) -> None:
        """Take note that so many bytes of the cache are in use."""
        self._used.append(size)

    def give_back(self, size: int) -> None:
        """Take note that so many bytes no longer are."""
        self._used.append(-size)


class Detector(Value, ABC):
    """The settings of what scores images: all there is to a deployed student but its weights."""

    method: str

    @property
    def pretrained(self) -> str | None:
        """SHA-256 of the teacher's weights that must be deployed too, if any."""
        return None

    @property
    @abstractmethod
    def channels(self) -> int: ...

    def shape(self) -> Self:
        """Return one detector for all that cost the same to run."""
        return self

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return the scorer with weights that are yet to be loaded."""


class Step(Value, ABC):
    """Everything about a training step that its result depends on, but data, recipe and seed."""

    axis: ClassVar[str]
    """what its name is one of: ``structure`` or ``placement``"""

    localises: ClassVar[bool] = False
    """whether heat maps are part of what the step is evaluated by"""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of its structure or placement."""

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """Whose training it is."""
        return "student"

    @property
    @abstractmethod
    def scored(self) -> str:
        """Which of the trained networks is the detector's student."""

    @property
    @abstractmethod
    def detector(self) -> Detector: ...

    @property
    def pretrained(self) -> str | None:
        """SHA-256 of the pretrained teacher's weights that it needs, if any."""
        return self.detector.pretrained

    @property
    @abstractmethod
    def shape(self) -> Self:
        """The same step for all that can train as lanes of one: they differ in weights alone."""

    @property
    @abstractmethod
    def teaching(self) -> Hashable:
        """What of the settings a fixed teacher's outputs depend on."""

    @abstractmethod
    def learner(self, seed: int, fixed: Fixed) -> Learner: ...
