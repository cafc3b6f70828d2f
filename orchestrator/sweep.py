"""Run a sweep: plan, train what the store lacks, log, and collect the results."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.console import Say
from orchestrator.doctor.examine import quick_look
from orchestrator.doctor.findings import check
from orchestrator.executors.base import Executor, Work
from orchestrator.planning.plan import Plan
from orchestrator.planning.prepare import Prepared, prepare
from orchestrator.planning.schedule import Schedule
from orchestrator.planning.spec import SweepSpec
from orchestrator.reporting.costs import cost_of
from orchestrator.reporting.progress import Display
from orchestrator.reporting.results import CandidateResult, collect
from orchestrator.store import open_objects, open_store
from orchestrator.store.record import damaged_stages
from orchestrator.store.stages import Store
from orchestrator.sweep_listener import SweepListener
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.runs import Tracker


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        plan: what was to be trained.
        results: one for each candidate.
        trained: how many stages were trained here.
        reused: how many the store had, or another sweep trained meanwhile.
        seconds: how long it took.
        tracking_problems: what MLflow lacks, and why.
        experiment_id: of the sweep in MLflow.
    """

    plan: Plan
    results: tuple[CandidateResult, ...]
    trained: int
    reused: int
    seconds: float
    tracking_problems: tuple[str, ...]
    experiment_id: str

    @property
    def succeeded(self) -> bool:
        """Return whether every candidate was trained and logged."""
        return all(r.status == "finished" for r in self.results) and not self.tracking_problems


def run_sweep(
    spec: SweepSpec,
    executor: Executor,
    make_display: Callable[[], Display],
    say: Say,
    *,
    verify: bool = False,
) -> Outcome:
    """Run a sweep to its end, or go on with one that was interrupted.

    Args:
        spec: the sweep.
        executor: trains the packs.
        make_display: makes the display. Called when nothing is left that fails before training.
        say: told what happens before there is a display.
        verify: whether to read every byte of the stages that the store has, and to train again
            those that are damaged.

    Raises:
        UserError, DataError, WeightsError: the sweep cannot run; raised before anything is trained.
    """
    began = time.monotonic()
    store = open_store(spec.storage.store_uri, spec.storage.s3)
    check(quick_look(spec.storage), say)
    prepared = prepare(spec, say, download=True)
    plan = prepared.plan
    finished = store.present(plan.stages)
    if verify:
        damaged = damaged_stages(store, (plan.stages[key] for key in finished), say)
        for key in damaged:
            store.discard(key)
        finished -= damaged
    # Before anything else runs here, since latency is part of it.
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
            work = _work(prepared, store)
            unfinished = [s for key, s in plan.stages.items() if key not in finished]
            executor.send(work, unfinished, say)
            schedule = _schedule(plan, finished, executor, say)
        # MLflow hears of the sweep only now, when nothing is left that can fail at once.
        tracker = Tracker(plan, store, spec.storage)
        log = BackgroundTracker(tracker, plan, store)
        try:
            log.start_sweep(prepared.pretrained, finished)
            if left:
                _train(work, schedule, executor, log, make_display, already=len(finished))
            results = collect(plan, store, schedule.failed, schedule.skipped)
            problems = log.finish_sweep(results, say)
        except BaseException:
            log.interrupt_sweep()
            raise
    finally:
        if left:
            executor.stop()
    return Outcome(
        plan,
        tuple(results),
        trained=len(schedule.finished - schedule.found),
        reused=len(finished | schedule.found),
        seconds=time.monotonic() - began,
        tracking_problems=problems,
        experiment_id=tracker.experiment_id,
    )


def _schedule(plan: Plan, finished: frozenset[str], executor: Executor, say: Say) -> Schedule:
    concurrent = executor.concurrent_packs(plan.spec, say)
    packs = plan.packs(finished, concurrent=concurrent)
    say(f"{len(packs)} trials to run, {min(concurrent, len(packs))} at a time")
    return Schedule(packs, concurrent)


def _work(prepared: Prepared, store: Store) -> Work:
    spec = prepared.plan.spec
    return Work(
        spec=spec,
        store=store,
        objects=open_objects(spec.storage.root_uri, spec.storage.s3),
        images=prepared.images,
        pretrained=prepared.pretrained.state if prepared.pretrained else None,
    )


def _train(
    work: Work,
    schedule: Schedule,
    executor: Executor,
    log: BackgroundTracker,
    make_display: Callable[[], Display],
    already: int,
) -> None:
    display = make_display()
    listener = SweepListener(schedule, work.store, log, display, already)
    try:
        executor.run(schedule, work, listener)
        listener.refresh()  # of what was skipped last
    finally:
        display.close()
