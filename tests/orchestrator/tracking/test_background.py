"""What is written to MLflow off the path of the trials: in order, together, or dropped."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.tracking.background import BackgroundTracker


class Recorder:
    """Stands in for the tracker; its first call takes until the test lets it go.

    Args:
        failing: names of calls that fail.
        times: how many of them fail before all succeed.
        answering: whether the tracking server answers.
    """

    def __init__(self, *failing: str, times: int = 1000, answering: bool = True) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.free = threading.Event()
        self._failing, self._answering, self._times = failing, answering, times

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]

    def is_complete(self, stage: Stage) -> bool:
        return False

    def answers(self) -> bool:
        return self._answering

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.free.wait(10)
            self.calls.append((name, *arguments))
            if name in self._failing and self._times:
                self._times -= 1
                raise ConnectionError(name)

        return call


def nobody(line: str) -> None:
    raise AssertionError(line)


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
    assert log.finish_sweep([], nobody) == ()
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
    assert tracker.names == ["reopen", "finish_stage", "fail_stage", "interrupt_sweep"]
    assert tracker.calls[1][1].stage == stored
    assert tracker.calls[2][1:3] == (lost, "interrupted")


def test_an_interrupted_sweep_still_logs_what_waited_to_be_logged_of_ended_stages(
    trained: Any, plan_of: Callable[..., Plan]
) -> None:
    plan: Plan = trained.plan
    stored, other, _ = plan.stages.values()
    failed = next(iter(plan_of().stages.values()))
    tracker = Recorder()
    log = BackgroundTracker(tracker, plan, trained.store)  # type: ignore[arg-type]
    for stage in (stored, other, failed):
        log.reopen(stage)
    log.finish(stored)
    log.fail(failed, "failed", "Diverged: loss/0 not finite in epoch 1")
    log.finish(other)
    threading.Timer(0.3, tracker.free.set).start()
    log.interrupt_sweep()
    ends = [
        (name, about if name == "fail_stage" else about.stage, *more[:2])
        for name, about, *more in tracker.calls[1:-1]
    ]
    assert ends[0][:2] == ("finish_stage", stored)
    assert ends[1][:2] == ("finish_stage", other)
    assert ends[2] == ("fail_stage", failed, "failed", "Diverged: loss/0 not finite in epoch 1")
    assert tracker.names[-1] == "interrupt_sweep"


def test_a_write_that_failed_and_was_made_up_for_is_no_problem(trained: Any) -> None:
    stage = next(iter(trained.plan.stages.values()))
    tracker = Recorder("log_epochs")
    tracker.free.set()
    log = BackgroundTracker(tracker, trained.plan, trained.store)  # type: ignore[arg-type]
    log.reopen(stage)
    log.epochs(stage, [{"epoch": 1}])
    log.finish(stage)
    assert log.finish_sweep([], nobody) == ()
    assert tracker.names == ["reopen", "log_epochs", "finish_stage", "finish_sweep"]


@pytest.mark.parametrize("end", ["finish_stage", "fail_stage"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_could_not_be_logged_is_tried_once_more_at_the_end(
    trained: Any, end: str, times: int
) -> None:
    first, second, _ = trained.plan.stages.values()
    tracker = Recorder(end, times=times)
    tracker.free.set()
    log = BackgroundTracker(tracker, trained.plan, trained.store)  # type: ignore[arg-type]
    if end == "finish_stage":
        log.finish(first)
    else:
        log.fail(first, "failed", "a reason")
    log.epochs(second, [{"epoch": 1}])
    assert log.finish_sweep([], nobody) == (() if times == 1 else (f"ConnectionError: {end}",))
    assert tracker.names == [end, "log_epochs", end, "finish_sweep"]


@pytest.mark.parametrize("end", ["finish", "interrupt"])
def test_a_server_that_is_gone_is_not_waited_for_once_more_for_every_write(
    trained: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("orchestrator.tracking.background._PATIENCE_SECONDS", 0.1)
    plan: Plan = trained.plan
    tracker = Recorder("reopen", "finish_stage", answering=False)
    log = BackgroundTracker(tracker, plan, trained.store)  # type: ignore[arg-type]
    stages = list(plan.stages.values())
    for stage in stages:
        log.reopen(stage)
        log.finish(stage)
    threading.Timer(0.5, tracker.free.set).start()
    said: list[str] = []
    if end == "finish":
        assert log.finish_sweep([], said.append) == ("ConnectionError: reopen",)
        assert said == [f"logging what is left to MLflow: {2 * len(stages) + 1} writes"]
    else:
        log.interrupt_sweep()
    assert tracker.names == ["reopen"]


def test_an_end_that_is_interrupted_can_still_be_logged(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Plan = trained.plan
    stage = next(iter(plan.stages.values()))
    tracker = Recorder()
    log = BackgroundTracker(tracker, plan, trained.store)  # type: ignore[arg-type]
    log.reopen(stage)
    log.finish(stage)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("orchestrator.tracking.background.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            log.finish_sweep([], nobody)
    threading.Timer(0.3, tracker.free.set).start()
    log.interrupt_sweep()
    assert tracker.names == ["reopen", "finish_stage", "interrupt_sweep"]
