"""One Ray Tune trial: one pack, trained with DDP by the workers of one Ray Train run."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train

from kd_models.data import ImageSet
from kd_models.methods.base import StateDict
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World
from orchestrator.executors.base import not_trained, pack_lock
from orchestrator.executors.ray_tune.progress_actor import EpochsFinished, PackStarted, Said
from orchestrator.planning.pack import Pack
from orchestrator.planning.spec import Resources
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext
from orchestrator.running.pack import run_pack
from orchestrator.store.record import is_trained

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train.torch import TorchTrainer

FAILURES = "failures"
_TRAIN = "train"
"""the folder of Ray Train's runs, with their checkpoints"""

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
    """What every trial of a sweep is given besides its pack.

    Attributes:
        packs: by key.
        run_context: where and how packs run.
        resources: of each trial.
        folder: for locks and Ray Train's runs; every machine must see it.
        progress: takes the trials' events.
    """

    packs: Mapping[str, Pack]
    run_context: RunContext
    resources: Resources
    folder: Path
    progress: "ActorHandle[Any]"


def trial(config: Mapping[str, Any], context: TrialContext) -> dict[str, str]:
    """Train the ``config["stages"]`` of the pack ``config["pack"]`` (a Tune function).

    Returns:
        Under ``failures``, as JSON, the reasons of its failed stages by key.
    """
    from ray.train.torch import TorchTrainer  # seconds to import, and only trials need it

    for name, value in TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    whole, store = context.packs[config["pack"]], context.run_context.store
    pack = replace(whole, stages=tuple(s for s in whole.stages if s.key in config["stages"]))

    def say(line: str) -> None:
        context.progress.post.remote(Said(line))

    with pack_lock(pack, context.folder, say):
        # Whoever had it before may have trained it meanwhile.
        if all(is_trained(store, stage) for stage in pack.stages):
            shutil.rmtree(context.folder / _TRAIN / pack.key, ignore_errors=True)
            return {FAILURES: "{}"}
        context.progress.post.remote(PackStarted(pack.key))
        return {FAILURES: json.dumps(_train(pack, context, TorchTrainer))}


def _train(pack: Pack, context: TrialContext, trainer_of: "type[TorchTrainer]") -> dict[str, str]:
    """Train a pack with Ray Train; return the reasons of its failed stages by key."""
    trainer = trainer_of(
        _train_loop,  # type: ignore[arg-type]  # what it returns is the result's return_value
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
        run_config=ray.train.RunConfig(
            # Named by its key, so that the same pack goes on from its last checkpoint.
            name=pack.key,
            storage_path=str(context.folder / _TRAIN),
            failure_config=ray.train.FailureConfig(max_failures=context.resources.retries),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        return not_trained(pack, context.run_context.store, _reason(error))
    # The store has what was trained: the checkpoints would only fill the disk, and those
    # of a failed stage would only lead to the same failure again.
    result.filesystem.delete_dir(result.path)
    failures: dict[str, str] = result.return_value  # type: ignore[attr-defined]
    return failures


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
    """Checkpoints by Ray Train, events by the progress actor."""

    progress: "ActorHandle[Any]"

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
        else:
            with checkpoint.as_directory() as folder:
                yield Path(folder)

    def save(self, write: Callable[[Path], None] | None) -> None:
        # Ray Train waits for a report of every process; one checkpoint serves all.
        if write is None:
            ray.train.report({})
            return
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def report(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        self.progress.post.remote(EpochsFinished(stage.key, rows))

    def say(self, line: str) -> None:
        self.progress.post.remote(Said(line))


def _reason(error: BaseException) -> str:
    """Say in one line what ended a Train run: the first worker's own error where there is one."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: BaseException = next(iter(failures.values()), error)
    cause = getattr(cause, "_base_exc", None) or cause
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[-1]}"
