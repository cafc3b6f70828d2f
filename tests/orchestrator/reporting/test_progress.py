"""How far a sweep is, told by a clock that the test turns."""

import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.console import console
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.reporting import progress as module
from orchestrator.reporting.progress import (
    PLAIN_INTERVAL_S,
    LiveDisplay,
    PlainDisplay,
    Progress,
    counted,
    display_for,
    duration,
    running_groups,
)


class Clock(SimpleNamespace):
    """Stands where the module has ``time``."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def strftime(self, form: str) -> str:
        return "12:34:56"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    """A teacher of 4 epochs, then two steps of 10."""
    return plan_of(
        structures=["p-kdgan-23"],
        training={"epochs": 10, "batch_size": 8},
        teacher={"widths": (1, 2, 4), "training": {"epochs": 4}},
    )


@pytest.fixture
def keys(plan: Plan) -> tuple[str, ...]:
    return plan.candidates[0].stages


@pytest.fixture
def progress(plan: Plan, clock: Clock) -> Progress:
    return Progress(plan.stages, already=3, started=clock.now)


def start(progress: Progress, key: str) -> None:
    progress.start(Pack.of([progress.stages[key]]))


# Counts


def test_before_anything_nothing_is_done_and_nothing_foretold(progress: Progress) -> None:
    assert progress.total_epochs == 24
    assert progress.done_epochs == 0
    assert progress.rate == 0
    assert progress.seconds_left is None
    assert progress.summary() == (
        "3/6 stages · 0/24 epochs · 0.00 epochs/s · 0s elapsed · time left unknown yet"
    )


def test_epochs_of_running_and_of_ended_stages_count(
    progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    for key in keys[:2]:
        start(progress, key)
    progress.epoch(keys[0], {"epoch": 1})
    progress.epoch(keys[0], {"epoch": 2})
    progress.epoch(keys[1], {"epoch": 1})
    assert progress.done_epochs == 3
    progress.end(keys[0], "finished")
    assert progress.done_epochs == 5
    assert list(progress.running) == [keys[1]]
    clock.now += 10
    assert progress.rate == pytest.approx(0.5)
    assert progress.seconds_left == pytest.approx((24 - 5) / 0.5)
    assert progress.summary() == (
        "4/6 stages · 5/24 epochs · 0.50 epochs/s · 10s elapsed · 38s left"
    )


def test_at_the_end_nothing_is_left(
    progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    clock.now += 48
    for key in keys:
        start(progress, key)
        progress.epoch(key, {"epoch": 1})
        progress.end(key, "finished")
    assert progress.done_epochs == progress.total_epochs == 24
    assert progress.seconds_left == 0
    assert progress.summary().startswith("6/6 stages · 24/24 epochs · 0.50 epochs/s")


def test_epochs_that_an_earlier_run_trained_are_done_but_make_it_no_faster(
    progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    start(progress, keys[1])
    clock.now += 10
    progress.epoch(keys[1], {"epoch": 7})
    progress.epoch(keys[1], {"epoch": 8})
    assert progress.done_epochs == 8
    assert progress.resumed == 6
    assert progress.rate == pytest.approx(0.2)
    assert progress.seconds_left == pytest.approx(16 / 0.2)


def test_epochs_that_arrive_one_by_one_were_trained_now(
    progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    start(progress, keys[1])
    clock.now += 10
    for epoch in range(1, 6):
        progress.epoch(keys[1], {"epoch": epoch})
    assert (progress.resumed, progress.rate) == (0, pytest.approx(0.5))


def test_failed_and_skipped_stages_leave_nothing_to_wait_for(
    progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    start(progress, keys[0])
    progress.epoch(keys[0], {"epoch": 1})
    clock.now += 1
    progress.end(keys[0], "failed")
    progress.end(keys[1], "skipped")
    progress.end(keys[2], "skipped")
    assert progress.seconds_left == 0
    assert progress.ended == {keys[0]: "failed", keys[1]: "skipped", keys[2]: "skipped"}
    assert progress.summary().startswith("6/6 stages")


def test_news_of_a_stage_that_ended_is_late_and_changes_nothing(
    progress: Progress, keys: tuple[str, ...]
) -> None:
    start(progress, keys[0])
    progress.end(keys[0], "finished")
    progress.epoch(keys[0], {"epoch": 3})
    assert progress.running == {}
    assert progress.done_epochs == 4
    assert progress.resumed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (61, "1m01s"),
        (190, "3m10s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (86400 * 3, "72h00m"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 10**7))
def test_a_duration_loses_less_than_its_last_unit(seconds: int) -> None:
    text = duration(seconds)
    units = {"h": 3600, "m": 60, "s": 1}
    total, number = 0, ""
    for letter in text:
        if letter.isdigit():
            number += letter
        else:
            total, number = total + int(number) * units[letter], ""
    assert 0 <= seconds - total < units[text[-1]]


# Displays


@pytest.fixture
def log() -> Console:
    return console(file=io.StringIO(), width=60)


def lines(log: Console) -> list[str]:
    assert isinstance(log.file, io.StringIO)
    return log.file.getvalue().splitlines()


def test_a_log_gets_a_line_every_few_seconds(
    log: Console, progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    display = PlainDisplay(log)
    start(progress, keys[0])
    for _ in range(100):
        clock.now += PLAIN_INTERVAL_S / 20
        display.refresh(progress)
    assert len(lines(log)) == 5


def test_a_line_says_what_runs(
    log: Console, progress: Progress, keys: tuple[str, ...], clock: Clock
) -> None:
    display = PlainDisplay(log)
    for key in keys[:2]:
        start(progress, key)
    progress.epoch(keys[0], {"epoch": 1})
    progress.epoch(keys[0], {"epoch": 2, "auroc": 0.87654})
    clock.now += PLAIN_INTERVAL_S
    display.refresh(progress)
    assert lines(log) == [
        "12:34:56 3/6 stages · 2/24 epochs · 0.20 epochs/s · 10s elapsed · 1m50s left · "
        "running: digits 0 teacher 2/4 0.8765; digits 0 kdgan-2 0/10"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normal_classes": [0, 3, 8]}, "3 digits kdgan-2 (classes 0 3 8)"),
        ({"seeds": [0, 1]}, "2 digits kdgan-2 (class 0, seeds 0 1)"),
        ({"seeds": list(range(12))}, "12 digits kdgan-2 (class 0, 12 seeds)"),
        (
            {"normal_classes": [1, 2], "datasets": ["digits", "mnist"]},
            "2 digits kdgan-2 (classes 1 2), 2 mnist kdgan-2 (classes 1 2)",
        ),
        ({}, "digits 0 kdgan-2"),
        ({"seeds": [7]}, "digits 0 kdgan-2"),
        (
            {"seeds": [0, 1], "scores": ["calibrated"]},
            "2 digits kdgan-2 calibrated (class 0)",  # fitted to students of two seeds, without one
        ),
        ({"seeds": [7], "scores": ["calibrated"]}, "digits 0 kdgan-2 calibrated"),
    ],
)
def test_stages_are_counted_and_seeds_are_said_where_they_tell_them_apart(
    plan_of: Callable[..., Plan], changes: dict[str, object], said: str
) -> None:
    plan = plan_of(**changes)
    students = [plan.stages[candidate.key] for candidate in plan.candidates]
    assert counted(students, Progress(plan.stages, 0).has_seeds) == said


def test_running_stages_of_a_kind_are_one(plan_of: Callable[..., Plan], log: Console) -> None:
    plan = plan_of(normal_classes="all", training={"epochs": 10, "batch_size": 8})
    progress = Progress(plan.stages, already=0)
    teachers = [stage for stage in plan.stages.values() if stage.kind == "teacher"]
    progress.start(Pack.of(teachers))
    for number, stage in enumerate(teachers):
        row = {"epoch": 3 + number % 2, "auroc": 0.9 + number / 100, "loss/0": float(number)}
        progress.epoch(stage.key, row)
    (group,) = running_groups(progress)
    assert group.title == "10 digits teacher (classes 0 1 2 3 4 5 6 7 8 9)"
    assert (group.epoch, group.epochs, group.auroc, group.loss) == (3, 10, "0.9000-0.9900", 4.5)


def test_a_line_says_that_nothing_runs(log: Console, progress: Progress, clock: Clock) -> None:
    display = PlainDisplay(log)
    clock.now += PLAIN_INTERVAL_S
    display.refresh(progress)
    assert lines(log)[0].endswith("running: nothing")


def test_what_happened_is_said_at_once_and_counts_as_a_line(
    log: Console, progress: Progress, clock: Clock
) -> None:
    display = PlainDisplay(log)
    clock.now += PLAIN_INTERVAL_S - 1
    display.say("started digits 0 teacher")
    clock.now += 2
    display.refresh(progress)
    assert lines(log) == ["12:34:56 started digits 0 teacher"]


BRACKETS = "FAILED: CUDA error [rank0] in [/tmp/x]"


def test_a_reason_in_square_brackets_is_said_as_it_is(log: Console, clock: Clock) -> None:
    PlainDisplay(log).say(BRACKETS)
    assert lines(log) == [f"12:34:56 {BRACKETS}"]


def test_a_reason_in_square_brackets_is_said_as_it_is_on_a_terminal() -> None:
    terminal = console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    display = LiveDisplay(terminal)
    try:
        display.say(BRACKETS)
    finally:
        display.close()
    assert BRACKETS in "\n".join(lines(terminal))


def test_a_terminal_gets_a_table_and_a_log_gets_lines() -> None:
    assert isinstance(display_for(Console(file=io.StringIO())), PlainDisplay)
    live = display_for(Console(file=io.StringIO(), force_terminal=True))
    live.close()
    assert isinstance(live, LiveDisplay)


def test_the_table_shows_every_running_stage(progress: Progress, keys: tuple[str, ...]) -> None:
    terminal = console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    display = LiveDisplay(terminal)
    try:
        for key in keys[:2]:
            start(progress, key)
        progress.epoch(keys[0], {"epoch": 3, "auroc": 0.87654, "loss/0": 1.25})
        display.refresh(progress)
        display.say("finished something")
    finally:
        display.close()
    text = "\n".join(lines(terminal))
    assert "finished something" in text
    assert "3/6 stages · 3/24 epochs" in text
    teacher = next(line for line in text.splitlines() if "digits 0 teacher" in line)
    assert "3/4" in teacher
    assert "0.8765" in teacher
    assert "1.2500" in teacher
    assert "starting" in next(line for line in text.splitlines() if "digits 0 kdgan-2" in line)
