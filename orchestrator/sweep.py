"""Run a sweep: plan, train what the store lacks on a Ray cluster, log, and report."""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from kd_models.data import ImageSet
from kd_models.networks.vgg_weights import TeacherWeights
from orchestrator.board import Board, News
from orchestrator.errors import UserError
from orchestrator.plan import Pack, Plan, Stage, make_plan
from orchestrator.planning import facts_of, finished_stages, load_datasets, load_pretrained
from orchestrator.progress import Display, Progress, Say
from orchestrator.record import is_trained
from orchestrator.results import CandidateResult, collect, cost, result_of
from orchestrator.schedule import Schedule
from orchestrator.searcher import PackSearcher
from orchestrator.spec import Resources, SweepSpec
from orchestrator.stage import Site
from orchestrator.store import FolderStore, Store
from orchestrator.tracking import Tracker, connect
from orchestrator.trial import (
    TRIAL_RESOURCES,
    SharedDatasets,
    SharedWeights,
    TrialContext,
    trial,
    worker_resources,
)


class ClusterError(UserError):
    """The Ray cluster cannot run the sweep."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to."""

    results: list[CandidateResult]
    trained: int
    reused: int
    seconds: float
    tracking_problems: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        return all(r.status == "finished" for r in self.results) and not self.tracking_problems


def run_sweep(
    spec: SweepSpec, address: str | None, display_of: Callable[[], Display], say: Say
) -> Outcome:
    """Run a sweep to its end, or go on with one that was interrupted.

    Args:
        address: of a Ray cluster; None starts a local one.
        display_of: makes the display, once everything that may fail at once has not.

    Raises:
        UserError, DataError: before anything is trained.
    """
    began = time.monotonic()
    store = FolderStore(spec.storage.store_path)
    store.check_writable()
    connect(spec.storage.mlflow_uri)
    images = load_datasets(spec, say)
    teacher = load_pretrained(spec)
    plan = make_plan(spec, facts_of(images), teacher.sha256 if teacher else "")
    # Before anything else runs here: latency is part of it.
    for stage in plan.stages.values():
        cost(stage)
    finished = finished_stages(plan, store, say)
    say(
        f"{len(plan.candidates)} candidates, {len(plan.stages)} stages: "
        f"{len(finished)} in the store, {len(plan.stages) - len(finished)} to train"
    )
    packs: Sequence[Pack] = ()
    schedule = Schedule((), concurrent=1)
    with contextlib.ExitStack() as stack:
        if len(finished) < len(plan.stages):
            stack.enter_context(_cluster(address, say))
            concurrent = concurrent_trials(spec.resources)
            packs = plan.packs(finished, concurrent=concurrent)
            say(f"{len(packs)} trials to run, {min(concurrent, len(packs))} at a time")
            schedule = Schedule(packs, concurrent)
        # Only now, when nothing is left that can fail at once, does MLflow hear of the sweep.
        tracker = Tracker(plan, store, spec.storage)
        tracker.start_sweep(teacher)
        log = _BackgroundTracker(tracker, plan, store)
        for key in finished:
            log.finish(plan.stages[key])
        if packs:
            display = stack.enter_context(contextlib.closing(display_of()))
            _tune(plan, images, teacher, store, schedule, log, display, len(finished))
    results = collect(plan, store, schedule.failed, schedule.skipped)
    problems = log.close(lambda: tracker.finish_sweep(results))
    return Outcome(
        results,
        trained=len(schedule.finished),
        reused=len(finished),
        seconds=time.monotonic() - began,
        tracking_problems=problems,
    )


def concurrent_trials(resources: Resources) -> int:
    """Return how many trials the cluster runs at once.

    Raises:
        ClusterError: not even one fits; said at once, since Ray would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def check(who: str, needed: int, each: Mapping[str, float], remedy: str) -> int:
        """Return how many times the cluster holds what must fit ``needed`` times."""
        room = sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items())
            for node in nodes
        )
        if room < needed:
            has = ", ".join(_amount(name, sum(n.get(name, 0) for n in nodes)) for name in each)
            needs = " and ".join(_amount(name, amount) for name, amount in each.items())
            raise ClusterError(
                f"a trial needs {who} {needs}, but the cluster ({len(nodes)} nodes, "
                f"{has}) holds {room}; {remedy}, or use a larger cluster"
            )
        return room // needed

    fitting = min(
        check(
            f"{resources.workers} workers, each with",
            resources.workers,
            worker_resources(resources),
            "lower resources.workers, resources.gpus_per_worker or resources.cpus_per_worker",
        ),
        check("for itself", 1, TRIAL_RESOURCES, "start Ray with more (ray start --memory=BYTES)"),
    )
    if resources.concurrent_trials != "auto":
        fitting = min(fitting, resources.concurrent_trials)
    return fitting


def _amount(resource: str, amount: float) -> str:
    if resource == "memory":
        return f"{amount / 1e6:,.0f} MB of memory"
    return f"{amount:g} {resource}s"


@contextlib.contextmanager
def _cluster(address: str | None, say: Say) -> Iterator[None]:
    """Be connected to a Ray cluster: the one at ``address`` or $RAY_ADDRESS, or a local one."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise ClusterError(
                f"no Ray cluster at {address} ({error}); give another --address, or none and "
                "unset RAY_ADDRESS to start a local Ray"
            ) from None
    else:
        say("starting a local Ray (give --address or RAY_ADDRESS to use a cluster)")
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _tune(
    plan: Plan,
    images: Mapping[str, ImageSet],
    teacher: TeacherWeights | None,
    store: Store,
    schedule: Schedule,
    log: "_BackgroundTracker",
    display: Display,
    already: int,
) -> None:
    spec = plan.spec
    packs = {pack.key: pack for pack in schedule.packs}
    board = Board.remote()  # type: ignore[attr-defined]
    context = TrialContext(
        packs=packs,
        site=Site(
            store=store,
            images=SharedDatasets({loaded.name: ray.put(loaded) for loaded in images.values()}),
            pretrained=SharedWeights(ray.put(teacher.state)) if teacher else None,
            cache_bytes=int(spec.resources.teacher_cache_gib * 2**30),
            lanes=spec.resources.lanes,
            evaluate_every=spec.evaluation.every,
            checkpoint_every=spec.resources.checkpoint_every,
        ),
        resources=spec.resources,
        ray_path=spec.storage.ray_path.absolute() / "train",
        board=board,
    )
    stages = {stage.key: stage for pack in packs.values() for stage in pack.stages}
    watcher = _Watcher(Progress(stages, already), board, schedule, store, log, display)
    # Ray Tune's own record of this run is of no use to the next: what is finished is in the
    # store, and what is not is in the Train runs, named by pack.
    with tempfile.TemporaryDirectory(prefix="kd-tune-") as scratch:
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trial, context=context),
                tune.PlacementGroupFactory([TRIAL_RESOURCES]),
            ),
            tune_config=tune.TuneConfig(
                search_alg=PackSearcher(schedule, watcher),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=scratch, callbacks=[watcher], verbose=0
            ),
        )
        # It would warn of every trial that reported no metric; ours go to the board.
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        tuner.fit()


class _Watcher(tune.Callback):
    """Passes on what happens in a sweep: to whoever looks at it, and to MLflow."""

    def __init__(
        self,
        progress: Progress,
        board: Any,
        schedule: Schedule,
        store: Store,
        log: "_BackgroundTracker",
        display: Display,
    ) -> None:
        self._progress, self._board, self._schedule = progress, board, schedule
        self._store, self._log, self._display = store, log, display
        self._polled = 0.0
        self._skipped: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks now and then, and would restore nothing from them

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if time.monotonic() - self._polled > 0.5:
            self._poll()

    def pack_started(self, pack: Pack) -> None:
        self._progress.start(pack)
        for stage in pack.stages:
            self._log.reopen(stage)
            self._display.say(f"started {stage.title}")

    def pack_ended(self, pack: Pack, failures: dict[str, str]) -> dict[str, str]:
        """Return the failures, with those added that the store knows of."""
        self._poll()
        for stage in pack.stages:
            if stage.key not in failures and not is_trained(self._store, stage):
                failures = {**failures, stage.key: "its trial ended, but the store lacks it"}
            self._end(stage, failures.get(stage.key))
        self._display.refresh(self._progress)
        return failures

    def _end(self, stage: Stage, failure: str | None) -> None:
        self._progress.end(stage.key, "failed" if failure else "finished")
        if failure:
            self._log.fail(stage, "failed", failure)
            self._display.say(f"FAILED {stage.title}: {failure}")
        else:
            self._log.finish(stage)
            self._display.say(f"finished {stage.title}")

    def _poll(self) -> None:
        self._polled = time.monotonic()
        news: list[News] = ray.get(self._board.take.remote())
        epochs = [item for item in news if item.rows]
        for item in news:
            if item.line:
                self._display.say(item.line)
        for item in epochs:
            self._progress.epoch(item.stage, item.rows[-1])
        for stage, rows in _by_stage(epochs, self._progress.stages):
            self._log.epochs(stage, rows)
        for key, origin in self._schedule.skipped.items():
            if key not in self._skipped:
                self._skipped.add(key)
                stage, reason = self._progress.stages[key], self._schedule.failed[origin]
                self._progress.end(key, "skipped")
                self._log.fail(
                    stage, "skipped", f"{self._progress.stages[origin].title} failed: {reason}"
                )
                self._display.say(f"skipped {stage.title}: a stage it needs failed")
        self._display.refresh(self._progress)


def _by_stage(news: Sequence[News], stages: Any) -> Iterator[tuple[Stage, list[dict[str, float]]]]:
    for key in dict.fromkeys(item.stage for item in news):
        yield stages[key], [row for item in news if item.stage == key for row in item.rows]


class _BackgroundTracker:
    """Logs to MLflow in a thread of its own, in order, off the path of the trials.

    A tracking server that goes away loses nothing: what it missed is logged when the same sweep
    is run again.
    """

    def __init__(self, tracker: Tracker, plan: Plan, store: Store) -> None:
        self._tracker, self._plan, self._store = tracker, plan, store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._pending: list[Future[None]] = []

    def reopen(self, stage: Stage) -> None:
        self._submit(self._tracker.reopen, stage)

    def epochs(self, stage: Stage, rows: Sequence[dict[str, float]]) -> None:
        self._submit(self._tracker.log_epochs, stage, rows)

    def finish(self, stage: Stage) -> None:
        self._submit(self._finish, stage)

    def fail(self, stage: Stage, status: str, reason: str) -> None:
        self._submit(self._tracker.fail_stage, stage, status, reason)

    def close(self, finish_sweep: Callable[[], None]) -> tuple[str, ...]:
        """Wait for everything to be logged; return what went wrong, each thing once."""
        self._submit(finish_sweep)
        self._thread.shutdown()
        errors = (future.exception() for future in self._pending)
        return tuple(dict.fromkeys(f"{type(e).__name__}: {e}"[:300] for e in errors if e))

    def _finish(self, stage: Stage) -> None:
        candidate = self._plan.candidate_of.get(stage.key)
        result = result_of(self._plan, candidate, self._store) if candidate else None
        self._tracker.finish_stage(stage, result)

    def _submit(self, function: Callable[..., None], *arguments: Any) -> None:
        self._pending.append(self._thread.submit(function, *arguments))
