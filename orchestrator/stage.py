"""Run one pack: parents in, trained stages out. Knows protocols, not Ray."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor

from kd_models.data import DataError, Images, ImageSet, OneClassData, one_class, to_model_input
from kd_models.fit import (
    DataTooSmall,
    Diverged,
    Epoch,
    Training,
    batches_per_epoch,
    fastest_stack,
    fit_pack,
    learner_on,
    on_device,
)
from kd_models.localisation import Localisation, localise
from kd_models.metrics import aurocs
from kd_models.objectives import Batch
from kd_models.protocol import holdout_split
from kd_models.state import TrainingState
from kd_models.step import Fixed, Learner, Weights
from kd_models.world import World
from orchestrator.plan import Pack, Stage, evenly
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
T = TypeVar("T")


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
    lanes: int | Literal["auto"] = "auto"
    """stages to train at once"""
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

    As many at once as is fastest, or ``site.lanes`` says: each such stack to its end.

    Returns:
        The reasons of the stages that cannot be trained, by key. One stage's failure does not
        keep the others from being trained.

    Raises:
        Exception: anything that may not happen again in another try.
    """
    waiting = [stage for stage in pack.stages if not is_trained(site.store, stage)]
    saved = _Saved.of(waiting, session)
    failures = dict(saved.failures)
    shared = _Shared(site, world)
    prepared = []
    for stage in waiting:
        if stage.key in failures:
            continue
        try:
            shared.data(stage)
            batch = _batches(stage, shared)[0]
            prepared.append((stage.key not in saved.states, batch, stage))
        # All of these are raised in every process alike, so none is left waiting for another.
        except _NO_USE_TRYING_AGAIN as error:
            failures[stage.key] = _reason(error)
    done: set[str] = set()
    # Those that were stopped together go on together, and first.
    kinds = dict.fromkeys((fresh, batch) for fresh, batch, _ in prepared)
    for kind in sorted(kinds):
        alike = [stage for *its, stage in prepared if tuple(its) == kind]
        size = stack_size(alike, shared) if kind[0] else len(alike)
        for stages in evenly(alike, -(-len(alike) // size)):
            failures |= _run_stack(stages, shared, session, saved, dict(failures))
            done |= {stage.key for stage in stages}
            shared.keep_for([stage for *_, stage in prepared if stage.key not in done])
    return failures


_NO_USE_TRYING_AGAIN = (DataTooSmall, DataError, CorruptStage)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Shared:
    """What the stages of a pack share: each thing is read, converted and computed once."""

    def __init__(self, site: Site, world: World) -> None:
        self.site, self.world = site, world
        self.told: set[str] = set()
        """what kd_models warned of"""
        self.given: dict[tuple[Any, ...], Batch] = {}
        """what fixed teachers say of images"""
        self._fixed: Fixed | None = None
        self._images: dict[str, ImageSet] = {}
        self._data: dict[tuple[Any, ...], OneClassData] = {}
        self._tested: dict[tuple[int, int, int], Tensor] = {}
        self._parents: dict[str, Mapping[str, Mapping[str, Any]]] = {}

    def data(self, stage: Stage) -> OneClassData:
        """Return a stage's data, its images on the device.

        Photographs are read on every machine, and may be missing on one of them alone: then it
        is an error on all.
        """
        config = stage.config
        key = (
            config.dataset,
            config.normal_class,
            config.image_size,
            config.step.detector.channels,
        )
        if key not in self._data:
            self._data[key] = self._together(lambda: self._read(stage))
        return self._data[key]

    def _read(self, stage: Stage) -> OneClassData:
        config = stage.config
        if config.dataset not in self._images:
            self._images[config.dataset] = self.site.images(config.dataset)
        images = self._images[config.dataset]
        fingerprint = images.fingerprint_of(config.normal_class)
        if fingerprint != stage.fingerprint:
            raise DataError(
                f"dataset {config.dataset} is not the one the sweep was planned with "
                f"(fingerprint {fingerprint[:12]}, planned {stage.fingerprint[:12]})"
            )

        def convert(raw: Images, *, image_size: int, channels: int) -> Tensor:
            key = (id(raw), image_size, channels)
            if raw is not images.test.images:
                return on_device(
                    to_model_input(raw, image_size=image_size, channels=channels), self.world
                )
            if key not in self._tested:  # the same for every class that is not a category
                self._tested[key] = to_model_input(
                    raw, image_size=image_size, channels=channels
                ).to(self.world.device)
            return self._tested[key]

        return one_class(
            images,
            config.normal_class,
            image_size=config.image_size,
            channels=config.step.detector.channels,
            convert=convert,
        )

    def learner(self, stage: Stage) -> Learner:
        """Return a new learner with its parents' networks, on the device."""
        step = stage.config.step
        if self._fixed is None:
            pretrained = self.site.pretrained if step.pretrained else None
            self._fixed = Fixed(pretrained() if pretrained else None, self.site.cache_bytes)
        learner = step.learner(stage.config.seed, self._fixed)
        for parent in stage.parents:
            if parent not in self._parents:
                self._parents[parent] = self._together(
                    partial(_parent_networks, self.site.store, parent)
                )
            learner.load(self._parents[parent])
        return learner_on(learner, self.world)

    def targets(self, stage: Stage, learner: Learner) -> Batch:
        """Return what the stage's fixed teacher says of its training images."""
        return self._given("train", stage, learner.targets, self.data(stage).train)

    def scoring_targets(self, stage: Stage, learner: Learner) -> Batch:
        """Return what it says of the test images."""
        return self._given("test", stage, learner.scoring_targets, self.data(stage).test)

    def _given(
        self, split: str, stage: Stage, of: Callable[[Tensor, World], Batch], images: Tensor
    ) -> Batch:
        key = (split, id(images), stage.parents[:1], stage.config.step.teaching)
        # Where nothing could be kept, ask again for the next stack: there may be room by then,
        # and while only trying how many go best together nobody was told.
        if key not in self.given or (split == "train" and not self.given[key]):
            self.given[key] = of(images, self.world)
        return self.given[key]

    def keep_for(self, stages: Sequence[Stage]) -> None:
        """Free what fixed teachers say of training images that none of these stages needs."""
        needed = {("train", id(self.data(stage).train)) for stage in stages}
        for key in [key for key in self.given if key[0] == "train" and key[:2] not in needed]:
            freed = self.given.pop(key)
            if self._fixed is not None:
                self._fixed.give_back(sum(tensor.nbytes for tensor in freed.values()))

    def _together(self, prepare: Callable[[], T]) -> T:
        prepared, failure = None, None
        try:
            prepared = prepare()
        except (DataError, CorruptStage) as error:
            failure = error
        reasons = [r for r in self.world.gather(failure and str(failure)) if r is not None]
        if reasons:
            raise failure or DataError(f"in another worker: {reasons[0]}")
        assert prepared is not None
        return prepared


def _batches(stage: Stage, shared: _Shared) -> tuple[int, int]:
    images = len(shared.data(stage).train)
    return batches_per_epoch(images, stage.config.recipe.batch_size, shared.world.size)


def _run_stack(
    stages: Sequence[Stage],
    shared: _Shared,
    session: Session,
    saved: "_Saved",
    failures: dict[str, str],
) -> dict[str, str]:
    """Train stages of one shape together; return the reasons of those that fail."""
    lanes: list[_Lane] = []
    failed: dict[str, str] = {}
    with _warnings_told(session, stages, shared):
        for stage in stages:
            try:
                lanes.append(_Lane(stage, shared.learner(stage), shared))
            except _NO_USE_TRYING_AGAIN as error:
                failed[stage.key] = _reason(error)
        if lanes:
            failed |= _StackRun(lanes, shared, session, saved, failures | failed).to_the_end()
    return failed


@contextmanager
def _warnings_told(session: Session, stages: Sequence[Stage], shared: _Shared) -> Iterator[None]:
    """Pass on what kd_models warns of: a worker's own log is seen by nobody."""
    more = f" and {len(stages) - 1} more" if len(stages) > 1 else ""

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{stages[0].title}{more}: {record.getMessage()}"
            if line not in shared.told:  # every lane may have the same to say
                shared.told.add(line)
                session.say(line)

    handler, log = Telling(logging.WARNING), logging.getLogger("kd_models")
    if shared.world.rank == 0:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Lane:
    """A stage while it trains: its learner and data, and what became of it so far."""

    def __init__(self, stage: Stage, learner: Learner, shared: _Shared) -> None:
        self.stage, self.learner = stage, learner
        self.data = shared.data(stage)
        self.split = holdout_split(self.data.labels.numpy())
        self.history: History = []
        self.scores: Scores | None = None
        self.localisation: Localisation | None = None

    def judge(self, scores: Tensor) -> dict[str, float]:
        """Keep the novelty scores of the test images; return their AUROCs."""
        self.scores = to_scores(scores, self.data.novel, self.data.labels)
        return aurocs(self.scores.scores, self.scores.novel, self.split)

    def localise(self, world: World) -> dict[str, float]:
        assert self.scores is not None
        data = self.data
        self.localisation = localise(
            self.learner.scorer(),
            data.test,
            self.scores.scores,
            self.scores.novel,
            masks=data.masks,
            masked=data.masked,
            names=data.names,
            world=world,
        )
        return self.localisation.metrics

    def write(self, store: Store) -> None:
        assert self.scores is not None
        weights = {name: network.state_dict() for name, network in self.learner.trained.items()}
        write_stage(store, self.stage, weights, self.scores, self.history, self.localisation)


class _StackRun:
    """Evaluation, checkpoints and histories of the lanes of a stack while they train."""

    def __init__(
        self,
        lanes: Sequence[_Lane],
        shared: _Shared,
        session: Session,
        saved: "_Saved",
        failures: dict[str, str],
    ) -> None:
        self._lanes, self._shared, self._session = lanes, shared, session
        self._site, self._world = shared.site, shared.world
        self._states = saved.states
        self._before = failures
        self._failed: dict[str, str] = {}
        self._recipe = lanes[0].stage.config.recipe
        for lane in lanes:
            lane.history = saved.histories.get(lane.stage.key, [])
            if lane.history and self._world.rank == 0:
                # Once more: the news of the last epochs may have died with the process.
                session.report(lane.stage, list(lane.history))

    def to_the_end(self) -> dict[str, str]:
        """Train; return the reasons of the stages that fail."""
        trainings = _trainings([lane.stage for lane in self._lanes], self._shared, self._lanes)
        trainings = [
            replace(training, state=self._states.get(lane.stage.key))
            for training, lane in zip(trainings, self._lanes, strict=True)
        ]
        clock = time.monotonic()
        for epoch in fit_pack(trainings, self._recipe, world=self._world):
            now = time.monotonic()
            self._on_epoch(epoch, (now - clock) / len(epoch.terms))
            clock = now
        return self._failed

    def _on_epoch(self, epoch: Epoch, seconds: float) -> None:
        last, site = epoch.number == self._recipe.epochs, self._site
        rows: dict[int, Row] = {
            place: {"epoch": epoch.number, "seconds": seconds, **terms}
            for place, terms in epoch.terms.items()
        }
        if last or epoch.number % site.evaluate_every == 0:
            self._evaluate(epoch, rows)
        for place, error in epoch.lost.items():
            self._failed[self._lanes[place].stage.key] = _reason(error)
            del rows[place]
        for place, row in rows.items():
            lane = self._lanes[place]
            if last and lane.stage.config.step.localises:
                row |= lane.localise(self._world)
            lane.history.append(row)
        first = self._world.rank == 0
        if rows and not last and epoch.number % site.checkpoint_every == 0:
            self._session.save(partial(self._save, epoch, list(rows)) if first else None)
        if first:
            for place, row in rows.items():
                lane = self._lanes[place]
                if last:
                    lane.write(site.store)
                self._session.report(lane.stage, [row])

    def _evaluate(self, epoch: Epoch, rows: dict[int, Row]) -> None:
        images = {place: self._lanes[place].data.test for place in rows}
        given = {
            place: self._shared.scoring_targets(lane.stage, lane.learner)
            for place, lane in enumerate(self._lanes)
            if place in rows
        }
        for place, scores in epoch.score(images, given).items():
            if place in epoch.lost:
                continue
            if not torch.isfinite(scores).all():
                epoch.lost[place] = Diverged("novelty scores are not finite")
                continue
            metrics = self._lanes[place].judge(scores)
            if self._world.rank == 0:
                rows[place] |= metrics

    def _save(self, epoch: Epoch, places: Sequence[int], folder: Path) -> None:
        for place in places:
            lane = self._lanes[place]
            epoch.state(place).save(folder / f"{lane.stage.key}{_STATE}")
            (folder / f"{lane.stage.key}{_HISTORY}").write_text(
                json.dumps(lane.history), encoding="utf-8"
            )
        (folder / _FAILURES).write_text(json.dumps(self._before | self._failed), encoding="utf-8")


_STATE, _HISTORY, _FAILURES = ".pt", ".history.json", "failures.json"


@dataclass(frozen=True)
class _Saved:
    """What the last checkpoint of an unfinished run of the pack holds."""

    states: dict[str, TrainingState] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, stages: Sequence[Stage], session: Session) -> Self:
        saved = cls()
        with session.checkpoint() as folder:
            if folder is None:
                return saved
            for key in (stage.key for stage in stages):
                if (folder / f"{key}{_STATE}").exists():
                    saved.states[key] = TrainingState.load(folder / f"{key}{_STATE}")
                    saved.histories[key] = json.loads((folder / f"{key}{_HISTORY}").read_bytes())
            if (folder / _FAILURES).exists():
                saved.failures.update(json.loads((folder / _FAILURES).read_bytes()))
        return saved


def _trainings(
    stages: Sequence[Stage], shared: _Shared, lanes: Sequence[_Lane] = ()
) -> list[Training]:
    """Return the trainings of stages, of these lanes or of learners made for the purpose."""
    learners = [lane.learner for lane in lanes] or [shared.learner(stage) for stage in stages]
    given = [
        shared.targets(stage, learner) for stage, learner in zip(stages, learners, strict=True)
    ]
    if not all(given):
        given = [{} for _ in stages]
    return [
        Training(learner, {"x": shared.data(stage).train, **targets}, stage.config.seed)
        for stage, learner, targets in zip(stages, learners, given, strict=True)
    ]


def stack_size(stages: Sequence[Stage], shared: _Shared) -> int:
    """Return how many of the stages, which are of one shape, to train at once.

    Measured on a few steps where it was not set.
    """
    if shared.site.lanes != "auto":
        return shared.site.lanes
    recipe, (_, steps) = stages[0].config.recipe, _batches(stages[0], shared)
    try:
        return fastest_stack(
            lambda size: _trainings(stages[:size], shared),
            len(stages),
            recipe,
            shared.world,
            recipe.epochs * steps,
        )
    except _NO_USE_TRYING_AGAIN:
        return len(stages)  # found again, and told, by whose turn it is


def _parent_networks(store: Store, key: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        return read_networks(store, key)
    except KeyError:
        raise CorruptStage(f"parent stage {key} is not in the store") from None
