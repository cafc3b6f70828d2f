"""Run a sweep: plan, train what the store lacks, log, and collect the results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.console import Say
from orchestrator.executors.base import Executor, Work
from orchestrator.planning.plan import Pack, Plan
from orchestrator.planning.prepare import Prepared, prepare
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.reporting.progress import Display, Progress, counted
from orchestrator.reporting.results import CandidateResult, collect, cost_of
from orchestrator.store.base import Store
from orchestrator.store.folder import FolderStore
from orchestrator.store.record import is_trained
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs import Tracker


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        results: one for each candidate.
        trained: how many stages were trained.
        reused: how many the store had.
        seconds: how long it took.
        tracking_problems: what MLflow lacks, and why.
    """

    results: list[CandidateResult]
    trained: int
    reused: int
    seconds: float
    tracking_problems: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Return whether every candidate was trained and logged."""
        return all(r.status == "finished" for r in self.results) and not self.tracking_problems


def run_sweep(
    spec: SweepSpec, executor: Executor, display_of: Callable[[], Display], say: Say
) -> Outcome:
    """Run a sweep to its end, or go on with one that was interrupted.

    Args:
        spec: the sweep.
        executor: trains the packs.
        display_of: makes the display, after everything that may fail at once.
        say: told what happens before there is a display.

    Raises:
        UserError, DataError, WeightsError: the sweep cannot run; raised before anything is trained.
    """
    began = time.monotonic()
    store = FolderStore(spec.storage.store_path)
    store.check_writable()
    connect(spec.storage.mlflow_uri)
    prepared = prepare(spec, store, say, download=True)
    plan, finished = prepared.plan, prepared.finished
    # Measured before anything else runs here, since latency is part of the cost.
    for stage in plan.stages.values():
        cost_of(stage)
    left = len(plan.stages) - len(finished)
    say(
        f"{len(plan.candidates)} candidates, {len(plan.stages)} stages: "
        f"{len(finished)} in the store, {left} to train"
    )
    schedule = Schedule((), concurrent=1)
    try:
        if left:
            executor.start(say)
            schedule = _schedule(plan, finished, executor, say)
        # MLflow hears of the sweep only now, when nothing is left that can fail at once.
        log = _start_tracking(prepared, store)
        try:
            if left:
                _train(prepared, schedule, executor, store, log, display_of)
            results = collect(plan, store, schedule.failed, schedule.skipped)
        except BaseException:
            log.interrupt_sweep()
            raise
        problems = log.finish_sweep(results)
    finally:
        if left:
            executor.stop()
    return Outcome(
        results,
        trained=len(schedule.finished),
        reused=len(finished),
        seconds=time.monotonic() - began,
        tracking_problems=problems,
    )


def _schedule(plan: Plan, finished: frozenset[str], executor: Executor, say: Say) -> Schedule:
    concurrent = executor.concurrent_packs(plan.spec)
    packs = plan.packs(finished, concurrent=concurrent)
    say(f"{len(packs)} trials to run, {min(concurrent, len(packs))} at a time")
    return Schedule(packs, concurrent)


def _start_tracking(prepared: Prepared, store: Store) -> BackgroundTracker:
    plan = prepared.plan
    tracker = Tracker(plan, store, plan.spec.storage)
    tracker.start_sweep(prepared.pretrained)
    log = BackgroundTracker(tracker, plan, store)
    for key in prepared.finished:
        log.finish(plan.stages[key])
    return log


def _train(
    prepared: Prepared,
    schedule: Schedule,
    executor: Executor,
    store: Store,
    log: BackgroundTracker,
    display_of: Callable[[], Display],
) -> None:
    spec = prepared.plan.spec
    work = Work(
        spec=spec,
        store=store,
        images=prepared.images,
        pretrained=prepared.pretrained.state if prepared.pretrained else None,
        folder=spec.storage.runs_path.absolute(),
    )
    display = display_of()
    watcher = SweepWatcher(schedule, store, log, display, already=len(prepared.finished))
    try:
        executor.run(schedule, work, watcher)
        watcher.refresh()  # of what was skipped last
    finally:
        display.close()


class SweepWatcher:
    """A listener that passes on what happens in a sweep: to the display, and to MLflow.

    Args:
        schedule: the packs that are left to train.
        store: where finished stages are.
        log: writes to MLflow.
        display: shows how far the sweep is.
        already: how many stages the store had.
    """

    def __init__(
        self,
        schedule: Schedule,
        store: Store,
        log: BackgroundTracker,
        display: Display,
        already: int,
    ) -> None:
        stages = {stage.key: stage for pack in schedule.packs for stage in pack.stages}
        self._progress = Progress(stages, already)
        self._schedule, self._store = schedule, store
        self._log, self._display = log, display
        self._skipped: set[str] = set()

    def pack_started(self, pack: Pack) -> None:
        """Tell of a pack's stages that they start."""
        self._progress.start(pack)
        for stage in pack.stages:
            self._log.reopen(stage)
        self._display.say(f"started {counted(pack.stages, self._progress.has_seeds)}")

    def epochs_finished(self, stage_key: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs of a stage."""
        self._progress.epoch(stage_key, rows[-1])
        self._log.epochs(self._progress.stages[stage_key], rows)

    def said(self, line: str) -> None:
        """Show a line."""
        self._display.say(line)

    def refresh(self) -> None:
        """Show how far the sweep is."""
        self._tell_of_skipped()
        self._display.refresh(self._progress)

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        """Log what became of a pack's stages; one that the store lacks has failed."""
        known = dict(failures)
        for stage in pack.stages:
            if stage.key not in known and not is_trained(self._store, stage):
                known[stage.key] = "its trial ended, but the store lacks it"
        for stage in pack.stages:
            failure = known.get(stage.key)
            self._progress.end(stage.key, "failed" if failure else "finished")
            if failure:
                self._log.fail(stage, "failed", failure)
                self._display.say(f"FAILED {stage.title}: {failure}")
            else:
                self._log.finish(stage)
        trained = [stage for stage in pack.stages if stage.key not in known]
        if trained:
            self._display.say(f"finished {counted(trained, self._progress.has_seeds)}")
        self._display.refresh(self._progress)
        return known

    def _tell_of_skipped(self) -> None:
        for key, origin in self._schedule.skipped.items():
            if key in self._skipped:
                continue
            self._skipped.add(key)
            stage, reason = self._progress.stages[key], self._schedule.failed[origin]
            self._progress.end(key, "skipped")
            self._log.fail(
                stage, "skipped", f"{self._progress.stages[origin].title} failed: {reason}"
            )
            self._display.say(f"skipped {stage.title}: a stage it needs failed")
