"""What the stages of a pack train on: images, parents' networks and teacher outputs."""

from collections.abc import Hashable, Sequence
from functools import partial

from torch import Tensor

from kd_models.data import DataError, Images, ImageSet, OneClassData, one_class, to_model_input
from kd_models.methods.base import CannotTrain, Learner, MemoryBudget, NetworkStates, PackContext
from kd_models.methods.objectives import Batch
from kd_models.training.epochs import DataTooSmall, batches_per_epoch, learner_on, on_device
from kd_models.world import World
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext
from orchestrator.store.record import read_networks
from orchestrator.store.stages import CorruptStage, Store

_TargetsKey = tuple[int, tuple[str, ...], Hashable]
"""The images' id, the teacher's stage, and what else of the settings the targets depend on."""

LASTING = (DataTooSmall, DataError, CorruptStage, CannotTrain)
"""Errors that another try would end in too. Each is raised in every process alike."""


class PackInputs:
    """The inputs of a pack's stages. Each is read, converted and computed once.

    Args:
        context: where they come from.
        world: the processes that train the pack; all must ask for the same things.
    """

    def __init__(self, context: RunContext, world: World) -> None:
        self._context, self._world = context, world
        self._budget = MemoryBudget(context.budget_bytes)
        self._pack_context: PackContext | None = None
        self._image_sets: dict[str, ImageSet] = {}
        self._data: dict[Hashable, OneClassData] = {}
        self._test_images: dict[Hashable, Tensor] = {}
        self._parents: dict[str, NetworkStates] = {}
        self._targets: dict[_TargetsKey, Batch] = {}
        self._scoring_targets: dict[Hashable, Batch] = {}

    def data(self, stage: Stage) -> OneClassData:
        """Return a stage's data, its images on the device.

        Raises:
            DataError: it is not what the stage was planned with, or cannot be read, be it on
                another machine alone.
        """
        channels = stage.step.detector.channels
        key = (stage.dataset, stage.normal_class, stage.image_size, channels)
        if key not in self._data:
            self._data[key] = self._world.in_every_process(
                lambda: self._read(stage, channels), DataError
            )
        return self._data[key]

    def batches(self, stage: Stage) -> tuple[int, int]:
        """Return the size of a stage's batches over all processes, and their number in an epoch.

        Raises:
            DataError: as :meth:`data`.
            DataTooSmall: there are fewer images than processes.
        """
        images = len(self.data(stage).train)
        wanted = stage.recipe.batch_size if stage.recipe else images
        return batches_per_epoch(images, wanted, self._world.size)

    def learner(self, stage: Stage) -> Learner:
        """Return a new learner with its parents' networks, prepared, on the device.

        Raises:
            CorruptStage: a parent cannot be read from the store.
            CannotTrain: the learner cannot be prepared.
        """
        if self._pack_context is None:
            read = self._context.read_pretrained if stage.step.pretrained_sha256 else None
            self._pack_context = PackContext(read() if read else None, self._budget)
        learner = stage.step.learner(stage.seed, self._pack_context)
        for parent in stage.parents:
            if parent not in self._parents:
                read_parent = partial(_networks_of_parent, self._context.store, parent)
                self._parents[parent] = self._world.in_every_process(read_parent, CorruptStage)
            learner.load(self._parents[parent])
        images = self.data(stage).train
        learner_on(learner, self._world)
        self._world.in_every_process(lambda: learner.prepare(images, self._world), CannotTrain)
        return learner

    def targets(self, stage: Stage, learner: Learner) -> Batch:
        """Return the fixed teacher's outputs for the stage's training images."""
        images = self.data(stage).train
        key: _TargetsKey = (id(images), stage.parents[:1], stage.step.targets_key)
        # Where there was no room, ask again for the next stack: there may be room by then.
        if not self._targets.get(key):
            self._targets[key] = learner.targets(images, self._world)
        return self._targets[key]

    def scoring_targets(self, stage: Stage, learner: Learner) -> Batch:
        """Return the fixed teacher's outputs for the stage's test images."""
        images = self.data(stage).test
        # A pretrained teacher is the same for all, a trained one the first of the parents.
        teacher = () if stage.step.pretrained_sha256 else stage.parents[:1]
        key = (id(images), teacher, stage.step.targets_key)
        if key not in self._scoring_targets:
            self._scoring_targets[key] = learner.scoring_targets(images, self._world)
        return self._scoring_targets[key]

    def free_targets(self, needed_by: Sequence[Stage]) -> None:
        """Free the targets for training images that none of these stages needs."""
        images = {id(self.data(stage).train) for stage in needed_by}
        for key in [key for key in self._targets if key[0] not in images]:
            freed = self._targets.pop(key)
            self._budget.release(sum(tensor.nbytes for tensor in freed.values()))

    def _read(self, stage: Stage, channels: int) -> OneClassData:
        if stage.dataset not in self._image_sets:
            self._image_sets[stage.dataset] = self._context.images(stage.dataset)
        images = self._image_sets[stage.dataset]
        fingerprint = images.fingerprint_of(stage.normal_class)
        if fingerprint != stage.fingerprint:
            raise DataError(
                f"dataset {stage.dataset} is not the one the sweep was planned with "
                f"(fingerprint {fingerprint[:12]}, planned {stage.fingerprint[:12]})"
            )

        def convert(raw: Images, *, image_size: int, channels: int) -> Tensor:
            def converted() -> Tensor:
                return to_model_input(raw, image_size=image_size, channels=channels)

            if raw is not images.test.images:
                return on_device(converted(), self._world)
            # Where the classes are no categories, all of them have the same test images.
            key = (id(raw), image_size, channels)
            if key not in self._test_images:
                self._test_images[key] = converted().to(self._world.device)
            return self._test_images[key]

        return one_class(
            images,
            stage.normal_class,
            image_size=stage.image_size,
            channels=channels,
            convert=convert,
        )


def _networks_of_parent(store: Store, key: str) -> NetworkStates:
    try:
        return read_networks(store, key)
    except KeyError:
        raise CorruptStage(f"parent stage {key} is not in the store") from None
