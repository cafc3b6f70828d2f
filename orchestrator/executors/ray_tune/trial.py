"""One Ray Tune trial: one pack, trained with DDP by the workers of one Ray Train run."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World
from orchestrator.executors.base import last_line_of
from orchestrator.executors.ray_tune.progress_actor import EpochsFinished, PackStarted, Said
from orchestrator.planning.pack import Pack
from orchestrator.planning.spec import Resources
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext
from orchestrator.running.pack import run_pack

if TYPE_CHECKING:
    from ray.actor import ActorHandle

FAILURES, LOST = "failures", "lost"

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
class SharedWeights:
    """A pretrained teacher's weights in Ray's object store, for the same reasons."""

    reference: "ray.ObjectRef[StateDict]"

    def __call__(self) -> StateDict:
        """Return the weights."""
        return ray.get(self.reference)


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a sweep is given besides its stages' keys.

    Attributes:
        stages: by key.
        run_context: where and how packs run.
        resources: of each trial.
        progress: takes the trials' events.
    """

    stages: Mapping[str, Stage]
    run_context: RunContext
    resources: Resources
    progress: "ActorHandle[Any]"


def trial(config: Mapping[str, Any], context: TrialContext) -> dict[str, str]:
    """Train the ``config["stages"]`` of the pack ``config["pack"]`` (a Tune function).

    Returns:
        Under ``failures``, as JSON, the reasons of its failed stages by key; or, where training
        ended before its end, under ``lost`` the reason.
    """
    from ray.train.torch import TorchTrainer  # seconds to import, and only trials need it

    for name, value in TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    pack = Pack.of([context.stages[key] for key in config["stages"]])
    context.progress.post.remote(PackStarted(config["trial"]))
    # Nothing in it outlives the trial: checkpoints are kept by stage, where all machines see them.
    with tempfile.TemporaryDirectory(prefix="kd-train-") as folder:
        trainer = TorchTrainer(
            _train_loop,
            train_loop_config={
                "pack": pack,
                "context": context.run_context,
                "progress": context.progress,
            },
            scaling_config=ray.train.ScalingConfig(
                num_workers=context.resources.workers,
                use_gpu=context.resources.gpus_per_worker > 0,
                resources_per_worker=worker_resources(context.resources),
            ),
            run_config=ray.train.RunConfig(name="train", storage_path=folder),
        )
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            return {LOST: _reason(error)}
    return {FAILURES: json.dumps(result.return_value)}


TRIAL_RESOURCES = {"memory": 500e6}
"""What Ray reserves for a trial's own process: it trains nothing, so it holds memory (bytes) rather
than a CPU."""


def worker_resources(resources: Resources) -> dict[str, float]:
    """Return what Ray reserves for each worker of a trial."""
    reserved: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        reserved["GPU"] = resources.gpus_per_worker
    return reserved


def _train_loop(config: dict[str, Any]) -> dict[str, str]:
    from ray.train.torch import get_device

    keep_freed_memory()
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), get_device())
    return run_pack(config["pack"], config["context"], world, _RaySession(config["progress"]))


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
