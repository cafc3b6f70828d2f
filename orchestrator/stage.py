"""Run one pack: parents in, trained stages out. Knows protocols, not Ray."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from kd_models.data import DataError, ImageSet, OneClassData, one_class
from kd_models.fit import DataTooSmall, Diverged, fit
from kd_models.localisation import Localisation, localise
from kd_models.metrics import aurocs
from kd_models.objectives import Batch
from kd_models.protocol import holdout_split
from kd_models.state import TrainingState
from kd_models.step import Fixed, Learner, Weights
from kd_models.world import World
from orchestrator.plan import Pack, Stage
from orchestrator.record import (
    History,
    Scores,
    is_trained,
    read_networks,
    to_scores,
    write_stage,
)
from orchestrator.store import CorruptStage, Store

Row = dict[str, float]


@dataclass(frozen=True)
class Site:
    """Where and how a pack runs; nothing here changes its result."""

    store: Store
    images: Callable[[str], ImageSet]
    """a dataset by name, read and decoded once for all stages"""
    pretrained: Callable[[], Weights] | None = None
    """a pretrained teacher's weights, where the method has one"""
    cache_bytes: int | None = None
    """see step.Fixed"""
    evaluate_every: int = 1
    checkpoint_every: int = 10


class Session(Protocol):
    """What a running pack needs of whoever runs it."""

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """The folder last saved by an earlier, unfinished run of this pack, if any."""

    def save(self, write: Callable[[Path], None] | None) -> None:
        """Keep a checkpoint that outlives the process, in place of the one before.

        Called in every process in the same epochs; process 0 is given what fills its folder.
        """

    def report(self, stage: Stage, rows: Sequence[Row]) -> None:
        """Tell of epochs that are finished. Called in process 0."""

    def say(self, line: str) -> None:
        """Tell whoever watches the sweep. Called in process 0."""


def run_pack(pack: Pack, site: Site, world: World, session: Session) -> dict[str, str]:
    """Train the stages of a pack that the store lacks, and store them.

    Returns:
        The reasons of the stages that cannot be trained, by key. One stage's failure does not
        keep the others from being trained.

    Raises:
        Exception: anything that may not happen again in another try.
    """
    failures: dict[str, str] = {}
    for stage in pack.stages:
        if is_trained(site.store, stage):
            continue
        try:
            _run_stage(stage, site, world, session)
        # All of these are raised in every process alike, so none is left waiting for another.
        except (Diverged, DataTooSmall, DataError, CorruptStage) as error:
            failures[stage.key] = f"{type(error).__name__}: {error}"
    return failures


def _run_stage(stage: Stage, site: Site, world: World, session: Session) -> None:
    config = stage.config
    data, learner = _prepare_together(stage, site, world)
    run = _StageRun(stage, site, world, session, learner, data)
    with _warnings_told(session, stage, world):
        fit(
            learner,
            data.train,
            config.recipe,
            config.seed,
            world=world,
            state=run.resume(),
            on_epoch=run.on_epoch,
        )
    if world.rank == 0:
        assert run.scores is not None
        weights = {name: network.state_dict() for name, network in learner.trained.items()}
        write_stage(site.store, stage, weights, run.scores, run.history, run.localisation)


def _prepare_together(stage: Stage, site: Site, world: World) -> tuple[OneClassData, Learner]:
    """Prepare a stage in every process; where one machine cannot, it is an error on all.

    Photographs and parents are read on every machine, and may be missing on one of them alone.
    """
    prepared, failure = None, None
    try:
        prepared = _prepare(stage, site)
    except (DataError, CorruptStage) as error:
        failure = error
    reasons = [reason for reason in world.gather(failure and str(failure)) if reason is not None]
    if reasons:
        raise failure or DataError(f"in another worker: {reasons[0]}")
    assert prepared is not None
    return prepared


def _prepare(stage: Stage, site: Site) -> tuple[OneClassData, Learner]:
    config = stage.config
    step = config.step
    images = site.images(config.dataset)
    fingerprint = images.fingerprint_of(config.normal_class)
    if fingerprint != stage.fingerprint:
        raise DataError(
            f"dataset {config.dataset} is not the one the sweep was planned with "
            f"(fingerprint {fingerprint[:12]}, planned {stage.fingerprint[:12]})"
        )
    data = one_class(
        images,
        config.normal_class,
        image_size=config.image_size,
        channels=step.detector.channels,
    )
    pretrained = site.pretrained() if site.pretrained and step.pretrained else None
    learner = step.learner(config.seed, Fixed(pretrained, site.cache_bytes))
    for parent in stage.parents:
        learner.load(_parent_networks(site.store, parent))
    return data, learner


@contextmanager
def _warnings_told(session: Session, stage: Stage, world: World) -> Iterator[None]:
    """Pass on what kd_models warns of: a worker's own log is seen by nobody."""

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            session.say(f"{stage.title}: {record.getMessage()}")

    handler, log = Telling(logging.WARNING), logging.getLogger("kd_models")
    if world.rank == 0:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _StageRun:
    """Evaluation, checkpoints and history of one stage while it trains."""

    def __init__(
        self,
        stage: Stage,
        site: Site,
        world: World,
        session: Session,
        learner: Learner,
        data: OneClassData,
    ) -> None:
        self._stage, self._site, self._world, self._session = stage, site, world, session
        self._learner = learner
        self._data = data
        self._test = data.test.to(world.device)
        self._targets: Batch | None = None
        self._split = holdout_split(data.labels.numpy())
        self._clock = time.monotonic()
        self.history: History = []
        self.scores: Scores | None = None
        self.localisation: Localisation | None = None

    def resume(self) -> TrainingState | None:
        """Return the state of the last checkpoint, and take its history over."""
        with self._session.checkpoint() as folder:
            if folder is None or not (folder / self._state_name).exists():
                return None
            self.history = json.loads((folder / self._history_name).read_text())
            state = TrainingState.load(folder / self._state_name)
        if self._world.rank == 0:
            # Once more: the news of the last epochs may have died with the process.
            self._session.report(self._stage, list(self.history))
        return state

    def on_epoch(self, state: TrainingState, terms: dict[str, float]) -> None:
        epochs = self._stage.config.recipe.epochs
        now = time.monotonic()
        row: Row = {"epoch": state.epoch, "seconds": now - self._clock, **terms}
        self._clock = now
        if state.epoch % self._site.evaluate_every == 0 or state.epoch == epochs:
            row |= self._evaluate()
        if state.epoch == epochs and self._stage.config.step.localises:
            row |= self._localise()
        self.history.append(row)
        first = self._world.rank == 0
        if state.epoch % self._site.checkpoint_every == 0 and state.epoch < epochs:
            self._session.save(self._writer(state) if first else None)
        if first:
            self._session.report(self._stage, [row])

    def _evaluate(self) -> dict[str, float]:
        if self._targets is None:
            self._targets = self._learner.scoring_targets(self._test, self._world)
        scores = self._learner.score(self._test, self._world, self._targets)
        if not torch.isfinite(scores).all():
            raise Diverged("novelty scores are not finite")
        self.scores = to_scores(scores, self._data.novel, self._data.labels)
        if self._world.rank != 0:
            return {}
        return aurocs(self.scores.scores, self.scores.novel, self._split)

    def _localise(self) -> dict[str, float]:
        assert self.scores is not None
        data = self._data
        self.localisation = localise(
            self._learner.scorer(),
            self._test,
            self.scores.scores,
            self.scores.novel,
            masks=data.masks,
            masked=data.masked,
            names=data.names,
            world=self._world,
        )
        return self.localisation.metrics

    def _writer(self, state: TrainingState) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            state.save(folder / self._state_name)
            (folder / self._history_name).write_text(json.dumps(self.history))

        return write

    @property
    def _state_name(self) -> str:
        return f"{self._stage.key}.pt"

    @property
    def _history_name(self) -> str:
        return f"{self._stage.key}.history.json"


def _parent_networks(store: Store, key: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        return read_networks(store, key)
    except KeyError:
        raise CorruptStage(f"parent stage {key} is not in the store") from None
