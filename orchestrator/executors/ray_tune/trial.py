"""One Ray Tune trial: one pack, trained with DDP by the workers of one Ray Train run."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from numpy.typing import NDArray

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World
from orchestrator.executors.base import last_line_of
from orchestrator.executors.ray_tune.progress_actor import (
    EpochsFinished,
    PackRequest,
    PackStarted,
    Said,
)
from orchestrator.planning.pack import Pack
from orchestrator.planning.spec import Resources
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext
from orchestrator.running.pack import run_pack

if TYPE_CHECKING:
    from ray.actor import ActorHandle

LOST = "lost"
_ASKED_EVERY = 0.2
"""seconds between questions for the next pack"""

TRAIN_SETTINGS = {
    # Four processes that import torch at once can take longer than Ray's minute.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    # Ray Train sees that its workers have ended, or want to save, when it asks them: by default
    # every two seconds, which is most of what a short trial would cost beyond its start.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}
"""environment variables that Ray Train reads, unless they are set"""


@dataclass(frozen=True)
class SharedDatasets:
    """Datasets in Ray's object store: read by the driver, found on every machine, once each.

    Workers so need neither the files nor the libraries that read them.
    """

    references: "Mapping[str, ray.ObjectRef[ImageSet]]"

    def __call__(self, name: str) -> ImageSet:
        """Return a dataset by name."""
        return ray.get(self.references[name])


@dataclass(frozen=True)
class SharedArray:
    """An array in Ray's object store, which spills to the disk what its memory does not hold."""

    reference: "ray.ObjectRef[NDArray[Any]]"

    def __call__(self) -> NDArray[Any]:
        """Return the array; it must not be written to."""
        return ray.get(self.reference)


@dataclass(frozen=True)
class SharedWeights:
    """A pretrained teacher's weights in Ray's object store, for the same reasons."""

    reference: "ray.ObjectRef[StateDict]"

    def __call__(self) -> StateDict:
        """Return the weights."""
        return ray.get(self.reference)


@dataclass(frozen=True)
class SharedStages:
    """The stages of a sweep in Ray's object store, since there may be many."""

    reference: "ray.ObjectRef[Mapping[str, Stage]]"

    def pack(self, keys: Sequence[str]) -> Pack:
        """Return the pack of stages by their keys."""
        stages = ray.get(self.reference)
        return Pack.of([stages[key] for key in keys])


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a sweep is given besides its stages' keys.

    Attributes:
        stages: of all packs.
        run_context: where and how packs run.
        resources: of each trial.
        progress: takes the trials' events.
    """

    stages: SharedStages
    run_context: RunContext
    resources: Resources
    progress: "ActorHandle[Any]"


def trial(config: Mapping[str, Any], context: TrialContext) -> dict[str, str]:
    """Train the pack of the stages ``config["stages"]``, and others after it (a Tune function).

    Returns:
        Under ``lost`` why training ended before its end; empty where it did not.
    """
    # Seconds to import, and only trials need them.
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    for name, value in TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    # Nothing in it outlives the trial: checkpoints are kept by stage, where all machines see them.
    with tempfile.TemporaryDirectory(prefix="kd-train-") as folder:
        # A process group would listen to all the network, and one process needs none.
        trainer_of = TorchTrainer if context.resources.workers > 1 else DataParallelTrainer
        trainer = trainer_of(
            _train_loop,
            train_loop_config={"context": context, **config},
            scaling_config=ray.train.ScalingConfig(
                num_workers=context.resources.workers,
                use_gpu=context.resources.gpus_per_worker > 0,
                resources_per_worker=worker_resources(context.resources),
            ),
            run_config=ray.train.RunConfig(name="train", storage_path=folder),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            return {LOST: _reason(error)}
    return {LOST: ""}


TRIAL_RESOURCES = {"memory": 500e6}
"""What Ray reserves for a trial's own process: it trains nothing, so it holds memory (bytes) rather
than a CPU."""


def worker_resources(resources: Resources) -> dict[str, float]:
    """Return what Ray reserves for each worker of a trial."""
    reserved: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        reserved["GPU"] = resources.gpus_per_worker
    return reserved


def _train_loop(config: dict[str, Any]) -> None:
    """Train packs until there is none, in each worker of a trial."""
    from ray.train.torch import get_device

    keep_freed_memory()
    train_context = ray.train.get_context()
    world = World(train_context.get_world_rank(), train_context.get_world_size(), get_device())
    context: TrialContext = config["context"]
    session = _RaySession(context.progress)
    keys, number = config["stages"], 0
    while keys:
        pack = context.stages.pack(keys)
        if world.rank == 0:
            context.progress.post.remote(PackStarted(config["trial"]))
        failures = run_pack(pack, context.run_context, world, session)
        number += 1
        request = PackRequest(config["trial"], number, failures)
        keys = world.gather(_next_pack(context, request) if world.rank == 0 else None)[0]


def _next_pack(context: TrialContext, request: PackRequest) -> Sequence[str]:
    """Return the keys of the stages to train next; none where the trial is to end."""
    while True:
        stages: Sequence[str] | None = ray.get(context.progress.ask.remote(request))
        if stages is not None:
            return stages
        time.sleep(_ASKED_EVERY)


@dataclass(frozen=True)
class _RaySession:
    """Reports to the progress actor."""

    progress: "ActorHandle[Any]"

    def report(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        self.progress.post.remote(EpochsFinished(stage.key, rows))

    def say(self, line: str) -> None:
        self.progress.post.remote(Said(line))


def _reason(error: BaseException) -> str:
    """Say in one line what ended a Train run: the first worker's own error where there is one."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: BaseException = next(iter(failures.values()), error)
    cause = getattr(cause, "_base_exc", None) or cause
    return last_line_of(cause)
