"""What is written to MLflow behind the trials' back: in order, together, and dropped when told."""

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.tracking.background import BackgroundTracker


class Recorder:
    """Stands in for the tracker; its first call takes until the test lets it go."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.free = threading.Event()

    def is_complete(self, stage: Stage) -> bool:
        return False

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.free.wait(10)
            self.calls.append((name, *arguments))

        return call


def test_epochs_that_wait_are_logged_by_one_call(trained: Any) -> None:
    plan: Plan = trained.plan
    first, second, _ = plan.stages.values()
    tracker = Recorder()
    log = BackgroundTracker(tracker, plan, trained.store)  # type: ignore[arg-type]
    log.reopen(first)
    for epoch in (1, 2, 3):
        log.epochs(first, [{"epoch": epoch}])
        log.epochs(second, [{"epoch": epoch}])
    tracker.free.set()
    assert log.finish_sweep([]) == ()
    rows = [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert tracker.calls == [
        ("reopen", first),
        ("log_epochs", first, rows),
        ("log_epochs", second, rows),
        ("finish_sweep", []),
    ]


def test_an_interrupted_sweep_logs_what_is_stored_and_drops_the_rest(
    trained: Any, plan_of: Callable[..., Plan]
) -> None:
    plan: Plan = trained.plan
    stored = next(iter(plan.stages.values()))
    lost = next(iter(plan_of().stages.values()))
    tracker = Recorder()
    log = BackgroundTracker(tracker, plan, trained.store)  # type: ignore[arg-type]
    for stage in (stored, lost):
        log.reopen(stage)
    log.epochs(lost, [{"epoch": 1}])
    threading.Timer(0.3, tracker.free.set).start()
    log.interrupt_sweep()
    names = [name for name, *_ in tracker.calls]
    assert names == ["reopen", "finish_stage", "fail_stage", "interrupt_sweep"]
    assert tracker.calls[1][1].stage == stored
    assert tracker.calls[2][1:3] == (lost, "interrupted")
