"""How far a sweep is: a live table on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kd_models.names import harmless
from orchestrator.plan import Pack, Stage

PLAIN_INTERVAL_S = 10.0
SHOWN = 10
"""running stages that are shown: a pack has up to 64"""
PLAIN_WIDTH = 1000
"""columns where there is no terminal to ask: tables take what they need, and lose nothing"""


class _Console(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        texts = (harmless(each) if isinstance(each, str) else each for each in objects)
        super().print(*texts, **options)


def console(**options: Any) -> Console:
    """Return a console that prints names as they are: brackets are no markup, colons no emoji, and
    control characters no commands to the terminal."""
    return _Console(markup=False, emoji=False, highlight=False, **options)


Say = Callable[[str], None]
"""Tells whoever runs a job one thing that happened."""


@dataclass
class Progress:
    """Counts epochs; knows nothing of how it is shown."""

    stages: Mapping[str, Stage]
    """those to train"""
    already: int
    """stages that the store had"""
    started: float = field(default_factory=time.monotonic)
    running: dict[str, Mapping[str, float]] = field(default_factory=dict)
    """stage key -> its last epoch's row"""
    ended: dict[str, str] = field(default_factory=dict)
    """stage key -> ``finished``, ``failed`` or ``skipped``"""
    resumed: int = 0
    """epochs that earlier runs had trained"""

    def epochs_of(self, key: str) -> int:
        return self.stages[key].config.recipe.epochs

    @property
    def total_epochs(self) -> int:
        return sum(self.epochs_of(key) for key in self.stages)

    @property
    def done_epochs(self) -> int:
        running = sum(int(row.get("epoch", 0)) for row in self.running.values())
        return running + sum(self.epochs_of(key) for key in self.ended)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Epochs a second over all trials, overheads included."""
        return max(self.done_epochs - self.resumed, 0) / max(self.elapsed, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far; None before the first epoch."""
        if self.rate == 0:
            return None
        return (self.total_epochs - self.done_epochs) / self.rate

    def start(self, pack: Pack) -> None:
        for stage in pack.stages:
            self.running[stage.key] = {}

    def epoch(self, key: str, row: Mapping[str, float]) -> None:
        if key in self.running:
            if not self.running[key]:
                self.resumed += int(row["epoch"]) - 1
            self.running[key] = row

    def end(self, key: str, status: str) -> None:
        self.running.pop(key, None)
        self.ended[key] = status

    def summary(self) -> str:
        """Say in one line how far the sweep is."""
        left = self.seconds_left
        parts = [
            f"{len(self.ended) + self.already}/{len(self.stages) + self.already} stages",
            f"{self.done_epochs}/{self.total_epochs} epochs",
            f"{self.rate:.2f} epochs/s",
            f"{duration(self.elapsed)} elapsed",
            f"{duration(left)} left" if left is not None else "time left unknown yet",
        ]
        return " · ".join(parts)


class Display(Protocol):
    """Shows a Progress."""

    def refresh(self, progress: Progress) -> None:
        """Show how far it is; called often."""

    def say(self, line: str) -> None:
        """Show something that happened."""

    def close(self) -> None: ...


class PlainDisplay:
    """Lines: what happened when it happened, and how far it is every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def refresh(self, progress: Progress) -> None:
        if time.monotonic() - self._last < PLAIN_INTERVAL_S:
            return
        shown = list(progress.running.items())[:SHOWN]
        running = "; ".join(
            f"{progress.stages[key].title} {_epoch(progress, key)}{_auroc(row)}"
            for key, row in shown
        )
        self.say(f"{progress.summary()} · running: {running or 'nothing'}{_more(progress)}")

    def say(self, line: str) -> None:
        self._last = time.monotonic()
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True
        )

    def close(self) -> None:
        pass


class LiveDisplay:
    """A table on a terminal, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4)
        self._live.start()

    def refresh(self, progress: Progress) -> None:
        table = Table(box=None)
        for heading in ("running", "epoch", "", "AUROC", "loss"):
            table.add_column(heading)
        for key, row in list(progress.running.items())[:SHOWN]:
            stage = progress.stages[key]
            bar = ProgressBar(progress.epochs_of(key), int(row.get("epoch", 0)), width=24)
            loss = f"{row['loss/0']:.4f}" if "loss/0" in row else "starting"
            table.add_row(
                Text(stage.title), _epoch(progress, key), bar, _auroc(row).strip() or "-", loss
            )
        self._live.update(Group(Text(progress.summary()), table, Text(_more(progress))))

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        self._live.stop()


def display_for(console: Console) -> Display:
    """Return the display that fits where the output goes."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def duration(seconds: float) -> str:
    """Write seconds as 42s, 3m10s or 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _epoch(progress: Progress, key: str) -> str:
    epoch = int(progress.running[key].get("epoch", 0))
    return f"{epoch}/{progress.epochs_of(key)}"


def _more(progress: Progress) -> str:
    """Say of how many running stages nothing is shown."""
    left = len(progress.running) - SHOWN
    return f" and {left} more" if left > 0 else ""


def _auroc(row: Mapping[str, float]) -> str:
    return f" {row['auroc']:.4f}" if "auroc" in row else ""
