"""One Ray Tune trial: one pack, trained with DDP by the workers of one Ray Train run."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from filelock import FileLock, Timeout

from kd_models.data import ImageSet
from kd_models.memory import keep_freed_memory
from kd_models.step import Weights
from kd_models.world import World
from orchestrator.board import News
from orchestrator.plan import Pack, Stage
from orchestrator.record import is_trained
from orchestrator.spec import Resources
from orchestrator.stage import Row, Site, run_pack

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train.torch import TorchTrainer

FAILURES = "failures"

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
        return ray.get(self.references[name])


@dataclass(frozen=True)
class SharedWeights:
    """A pretrained teacher's weights in Ray's object store, for the same reasons."""

    reference: "ray.ObjectRef[Weights]"

    def __call__(self) -> Weights:
        return ray.get(self.reference)


@dataclass(frozen=True)
class TrialContext:
    """What every trial of a sweep is given besides its pack."""

    packs: Mapping[str, Pack]
    site: Site
    resources: Resources
    ray_path: Path
    board: "ActorHandle[Any]"


def trial(config: Mapping[str, str], context: TrialContext) -> dict[str, str]:
    """Train the pack ``config["pack"]`` (a Tune function).

    Returns:
        Under ``failures``, as JSON, the reasons of its failed stages by key.
    """
    from ray.train.torch import TorchTrainer  # seconds to import, and only trials need it

    for name, value in TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    pack, store = context.packs[config["pack"]], context.site.store
    with _alone(pack, context):
        # Whoever had it before may have trained it meanwhile.
        if all(is_trained(store, stage) for stage in pack.stages):
            return {FAILURES: "{}"}
        return {FAILURES: json.dumps(_train(pack, context, TorchTrainer))}


@contextmanager
def _alone(pack: Pack, context: TrialContext) -> Iterator[None]:
    """Keep other sweeps from the folder in which Ray Train trains the pack: the same pack has the
    same one, so that it is found again, and is the work of one sweep at a time.

    The lock ends with this process, however that ends.
    """
    locks = context.ray_path.with_name("locks")
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{pack.key}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        line = f"waiting for another sweep that trains {pack.stages[0].title}"
        more = f" and {len(pack.stages) - 1} more" if len(pack.stages) > 1 else ""
        context.board.post.remote(News(pack.key, line=line + more))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _train(pack: Pack, context: TrialContext, trainer_of: "type[TorchTrainer]") -> dict[str, str]:
    """Train a pack with Ray Train; return the reasons of its failed stages by key."""
    trainer = trainer_of(
        _train_loop,  # type: ignore[arg-type]  # what it returns is the result's return_value
        train_loop_config={
            "pack": pack,
            "site": context.site,
            "board": context.board,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=context.resources.workers,
            use_gpu=context.resources.gpus_per_worker > 0,
            resources_per_worker=worker_resources(context.resources),
        ),
        run_config=ray.train.RunConfig(
            # Named by its key, so that the same pack goes on from its last checkpoint.
            name=pack.key,
            storage_path=str(context.ray_path),
            failure_config=ray.train.FailureConfig(max_failures=context.resources.retries),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        store, reason = context.site.store, _reason(error)
        return {s.key: reason for s in pack.stages if not is_trained(store, s)}
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
    session = _RaySession(config["board"], config["pack"].key)
    return run_pack(config["pack"], config["site"], world, session)


@dataclass(frozen=True)
class _RaySession:
    """Checkpoints by Ray Train, news by the board."""

    board: "ActorHandle[Any]"
    pack: str

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

    def report(self, stage: Stage, rows: Sequence[Row]) -> None:
        self.board.post.remote(News(stage.key, rows))

    def say(self, line: str) -> None:
        self.board.post.remote(News(self.pack, line=line))


def _reason(error: BaseException) -> str:
    """Say in one line what ended a Train run: the first worker's own error where there is one."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: BaseException = next(iter(failures.values()), error)
    cause = getattr(cause, "_base_exc", None) or cause
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[-1]}"
