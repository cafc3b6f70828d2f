"""The contract of a method: what plans, trainings, stores and devices need to know of it.

A method turns settings into variants, each a chain of training steps. A step makes a learner, and
the training calls, in this order:

1. ``load``: the networks of earlier steps;
2. ``prepare``: a hypersphere's centre, feature statistics;
3. ``targets``: a fixed teacher's outputs;
4. epochs that minimise ``objectives()``, or ``fit`` where there are none;
5. ``calibrate``, before the scores of an epoch are wanted: quantiles, densities of features;
6. ``scorer``: a module that maps images to novelty scores.

Objectives and scorers of lanes run under ``vmap``, and scorers are exported to ONNX, as which their
cost is measured before anything is trained: no control flow that depends on data, no random
numbers. Buffers exist from the start and are written in place.

Whatever a learner knows at the end lies in the state dicts of its ``trained`` networks, buffers
included: those are what is stored, resumed, deployed and loaded again, without pickle.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from kd_models.data import DatasetRow
from kd_models.data.fingerprint import fingerprint_arrays
from kd_models.evaluation.scoring import Scorer, score
from kd_models.methods.draws import Draw
from kd_models.methods.objectives import Batch, Objective
from kd_models.recipe import Recipe
from kd_models.values import Value
from kd_models.world import World

T = TypeVar("T")

StateDict = Mapping[str, Tensor]
"""The tensors of one network by name."""

NetworkStates = Mapping[str, StateDict]
"""The state dicts of several networks by the network's name."""


class WeightsError(ValueError):
    """Pretrained weights cannot be had, or are not those that the method expects."""


class WeightsMissing(WeightsError):
    """Pretrained weights would have to be downloaded, which was not allowed."""


@dataclass(frozen=True)
class PretrainedWeights:
    """A pretrained network's state dict, in the precision it was stored in."""

    state: StateDict = field(repr=False)

    @property
    def sha256(self) -> str:
        """Return the identity of the weights: of their float32 values, wherever they came from."""
        return fingerprint_arrays(*(self.state[name].float() for name in sorted(self.state)))


class CannotTrain(Exception):
    """A learner cannot be trained or fitted on these images, and no other try would help.

    Raised by ``prepare``, ``fit`` or ``calibrate``; the message says why. The learner's stage
    fails, and the others of its pack go on. Where these exchange something with the other
    processes, raise it before that, or in every process alike.
    """


class MemoryBudget:
    """The memory in one process that teacher outputs may take.

    Args:
        limit: bytes; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._reserved = 0

    @property
    def left(self) -> int | None:
        """Return the bytes that are not reserved; None for no limit."""
        return None if self.limit is None else self.limit - self._reserved

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes and return True, or return False where they are not left."""
        if self.left is not None and size > self.left:
            return False
        self._reserved += size
        return True

    def release(self, size: int) -> None:
        """Return ``size`` reserved bytes to the budget."""
        self._reserved -= size


class PackContext:
    """What the learners of one pack share besides their settings. Nothing of it is trained.

    Args:
        pretrained: the state dict that :attr:`Step.pretrained_sha256` asks for, if any.
        budget: the memory for teacher outputs.
    """

    def __init__(
        self, pretrained: StateDict | None = None, budget: MemoryBudget | None = None
    ) -> None:
        self.pretrained = pretrained
        self.budget = budget or MemoryBudget()
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when this key was first asked for."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made


class Learner(ABC):
    """The networks of one step, with what trains and scores them.

    Args:
        trained: the networks that the step trains or fits, by name.
    """

    def __init__(self, trained: Mapping[str, nn.Module]) -> None:
        self._trained = trained

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """Return the networks that the step trains or fits, by name."""
        return self._trained

    def load(self, weights: NetworkStates) -> None:
        """Start from networks of earlier steps; names that the step lacks are ignored."""
        for name, network in self.trained.items():
            if name in weights:
                network.load_state_dict(dict(weights[name]))

    def prepare(self, images: Tensor, world: World) -> None:  # noqa: B027  # an optional hook
        """Compute what the objectives need of the training images (N, C, S, S).

        Called in every process with all images, before the first epoch, and again before a
        training goes on from its state. What it computes belongs into buffers of the trained
        networks.

        Raises:
            CannotTrain: there is nothing to be had from these images.
        """

    def draws(self) -> Mapping[str, Draw]:
        """Return the random numbers that each batch has for its objectives, by name."""
        return {}

    def objectives(self) -> Sequence[Objective]:
        """Return what each step minimises, in order; each objective has its own optimizer.

        A learner without objectives is fitted by :meth:`fit`.
        """
        return ()

    def fit(self, images: Tensor, world: World) -> None:
        """Fit a learner without objectives to the training images (N, C, S, S).

        Raises:
            CannotTrain: there is nothing to be had from these images.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither objectives nor fit")

    def calibrate(self, images: Tensor, world: World) -> None:  # noqa: B027  # an optional hook
        """Compute what the scorer needs of the training images (N, C, S, S).

        Called in every process before an epoch's scores are computed. What it computes belongs
        into buffers of the trained networks.

        Raises:
            CannotTrain: there is nothing to be had from these images.
        """

    def targets(self, images: Tensor, world: World) -> Batch:
        """Return a fixed teacher's outputs for training images (N, C, S, S), each (N, ...).

        Computed once and reused in every epoch. Empty where there is no fixed teacher, or its
        outputs do not fit into memory.
        """
        return {}

    def scoring_targets(self, images: Tensor, world: World) -> Batch:
        """Return a fixed teacher's outputs for images scored often, as :meth:`targets`."""
        return {}

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return the scorer in evaluation mode; it shares the learner's networks."""

    def score(self, images: Tensor, world: World, targets: Batch | None = None) -> Tensor:
        """Return the novelty scores (N,) of images (N, C, S, S).

        Args:
            images: those to score.
            world: the processes that share the work.
            targets: their :meth:`scoring_targets`, if any.
        """
        modes = {network: network.training for network in self.trained.values()}
        scores = score(self.scorer(), images, world, targets or {})
        for network, training in modes.items():
            network.train(training)
        return scores


class Detector(Value, ABC):
    """The settings of what scores images: a deployed student is these and its weights."""

    method: str

    @property
    def pretrained_sha256(self) -> str | None:
        """Return the SHA-256 of pretrained weights that must be deployed too, if any."""
        return None

    @property
    @abstractmethod
    def channels(self) -> int:
        """Return the channels of the images that it takes, 1 or 3."""

    @property
    def cost_group(self) -> Self:
        """Return one detector for all that cost the same to run."""
        return self

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return the scorer, its weights still to be loaded."""


class Step(Value, ABC):
    """Everything that a training step's result depends on, but data, recipe and seed."""

    axis: ClassVar[str]
    """The axis that the step's name is a value of, such as ``structure``."""

    localises: ClassVar[bool] = False
    """Whether the step is evaluated by heat maps too."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the step's name, a value of its ``axis``."""

    @property
    def kind(self) -> Literal["teacher", "student"]:
        """Return whether the step trains a teacher or a student."""
        return "student"

    @property
    @abstractmethod
    def scored(self) -> str:
        """Return the name of the trained network that the detector deploys as its student."""

    @property
    @abstractmethod
    def detector(self) -> Detector:
        """Return the settings of the detector that the step makes."""

    @property
    def pretrained_sha256(self) -> str | None:
        """Return the SHA-256 of the pretrained weights that the step needs, if any."""
        return self.detector.pretrained_sha256

    def seed_of(self, seed: int) -> int:
        """Return the seed that it is trained with for a candidate's seed.

        Another than the candidate's where it is the same step for all of them.
        """
        return seed

    @property
    def lane_group(self) -> Self:
        """Return one step for all that can train as lanes of one network.

        Those differ only in numbers that their objectives hold as buffers.
        """
        return self

    @property
    def targets_key(self) -> Hashable:
        """Return the part of the settings that :meth:`Learner.targets` depend on."""
        return None

    @abstractmethod
    def learner(self, seed: int, context: PackContext) -> Learner:
        """Return a new learner.

        Args:
            seed: of its initial weights.
            context: what it shares with the other learners of its pack.
        """


def seeded(seed: int, make: Callable[[], T]) -> T:
    """Return what ``make`` makes with initial weights drawn from this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


@dataclass(frozen=True)
class Variant:
    """One combination of a method's axes, and the chain of steps behind it.

    Attributes:
        axes: the values by axis, as JSON; the first axis says most.
        image_size: pixels a side of the images that its networks take.
        steps: steps and their recipes, parents before children, the student's last. A step whose
            learner has no objectives has None for a recipe.
        alone: the axes of the variant that trains the same student without a teacher, which shows
            what the teacher adds; None where there is no such variant.
    """

    axes: Mapping[str, Any]
    image_size: int
    steps: tuple[tuple[Step, Recipe | None], ...]
    alone: Mapping[str, Any] | None = None


class MethodSettings(Value, ABC):
    """A method's part of a sweep file."""

    @property
    def pretrained_source(self) -> str | None:
        """Return where the pretrained weights are that the method asks for, if it does."""
        return None

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch sizes there are, by the setting that holds them."""
        return {}

    @abstractmethod
    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield every combination of the method's axes for a dataset and normal class.

        Args:
            dataset: the dataset.
            images: how many normal images there are to train on; None where that is not known.
            pretrained_sha256: of the pretrained weights; None where the method asks for none, or
                only costs are wanted.
        """


@dataclass(frozen=True)
class Published:
    """What a paper reports of a detector, each the mean over all of a dataset's classes.

    Attributes:
        auroc: over the whole test split, by the paper's score.
        gmean: the geometric mean of the shares of normal and of novel images that are told right.
        fpr: the share of normal images that are flagged.
        fnr: the share of novel images that are missed.
    """

    auroc: float
    gmean: float | None = None
    fpr: float | None = None
    fnr: float | None = None


@dataclass(frozen=True)
class Method:
    """A way to get a detector.

    Attributes:
        name: as sweep files write it.
        summary: one line about it, with its paper.
        settings: the model of its part of a sweep file.
        detector: the model of its deployed detectors.
        example: the fewest settings that a sweep of it needs.
        is_default: whether sweep files that name no method mean this one.
        is_baseline: whether students are compared with it that cost more.
        read_pretrained: reads pretrained weights, given where they are, the folder for downloads
            and whether downloads are allowed; raises WeightsError, or WeightsMissing where only
            a download would help.
        published: what papers report, by dataset and value of the first axis.
    """

    name: str
    summary: str
    settings: type[MethodSettings]
    detector: type[Detector]
    example: Mapping[str, Any] = field(default_factory=dict)
    is_default: bool = False
    is_baseline: bool = False
    read_pretrained: Callable[[str, Path, bool], PretrainedWeights] | None = None
    published: Mapping[str, Mapping[str, Published]] = field(default_factory=dict)

    def published_of(self, dataset: str, axes: Mapping[str, Any]) -> Published | None:
        """Return what papers report of a variant, if they do.

        They report nothing of a score other than its own: of an axis ``score``, where there is
        one, with another value than ``paper``.

        Args:
            dataset: name of the dataset.
            axes: the variant's values by axis.
        """
        if axes.get("score", "paper") != "paper":
            return None
        return self.published.get(dataset, {}).get(str(next(iter(axes.values()), "")))
