"""Progress of a sweep: a live table on a terminal, plain lines in a log."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kd_score.names import together
from orchestrator.planning.pack import Pack
from orchestrator.planning.stage import Stage

PLAIN_INTERVAL_S = 10.0
MOST_NAMED = 10
"""Classes or seeds that are named one by one."""


@dataclass
class Progress:
    """The count of a sweep's epochs, whatever way it is shown."""

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
        """Return how many epochs a stage trains."""
        return self.stages[key].epochs

    @cached_property
    def has_seeds(self) -> bool:
        """Return whether seeds tell stages apart."""
        return len({stage.seed for stage in self.stages.values() if stage.is_trained}) > 1

    @cached_property
    def total_epochs(self) -> int:
        """Return the epochs of all stages."""
        return sum(self.epochs_of(key) for key in self.stages)

    @property
    def done_epochs(self) -> int:
        """Return the epochs that are finished."""
        running = sum(int(row.get("epoch", 0)) for row in self.running.values())
        return running + sum(self.epochs_of(key) for key in self.ended)

    @property
    def elapsed(self) -> float:
        """Return the seconds since the sweep started."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Return the epochs a second over all trials, overheads included."""
        return max(self.done_epochs - self.resumed, 0) / max(self.elapsed, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds left by the rate so far; None before the first epoch."""
        if self.rate == 0:
            return None
        return (self.total_epochs - self.done_epochs) / self.rate

    def start(self, pack: Pack) -> None:
        """Take note that a pack's stages start."""
        for stage in pack.stages:
            self.running[stage.key] = {}

    def epoch(self, key: str, row: Mapping[str, float]) -> None:
        """Take note of a stage's last epoch."""
        if key in self.running:
            if not self.running[key]:
                self.resumed += int(row["epoch"]) - 1
            self.running[key] = row

    def end(self, key: str, status: str) -> None:
        """Take note of what became of a stage."""
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


def counted(stages: Sequence[Stage], with_seeds: bool) -> str:
    """Say which stages these are: ``10 digits teacher (classes 0 to 9)``.

    Args:
        stages: of one pack or more.
        with_seeds: whether the sweep has several seeds, so that they tell stages apart.
    """
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(f"{stage.dataset} {stage.step_title}", []).append(stage)
    return ", ".join(_group_title(name, group, with_seeds) for name, group in groups.items())


def _group_title(name: str, stages: Sequence[Stage], with_seeds: bool) -> str:
    with_seeds = with_seeds and stages[0].is_trained
    if len(stages) == 1:
        seed = f" seed {stages[0].seed}" if with_seeds else ""
        return f"{stages[0].title}{seed}"
    details = [_several("class", "classes", [stage.normal_class for stage in stages])]
    if with_seeds:
        details.append(_several("seed", "seeds", [str(stage.seed) for stage in stages]))
    return f"{len(stages)} {name} ({', '.join(details)})"


def _several(one: str, many: str, values: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return f"{one} {distinct[0]}"
    if len(distinct) > MOST_NAMED:
        return f"{len(distinct)} {many}"
    return f"{many} {together(*distinct)}"


@dataclass(frozen=True)
class RunningGroup:
    """Running stages of one kind, which a display shows in one row.

    Attributes:
        title: which they are.
        epoch: the epoch that all of them have finished.
        epochs: how many they train.
        auroc: their AUROCs, from lowest to highest; empty before the first.
        loss: the mean of their first objectives; None before the first epoch.
    """

    title: str
    epoch: int
    epochs: int
    auroc: str
    loss: float | None


def running_groups(progress: Progress) -> list[RunningGroup]:
    """Return the running stages in groups of one dataset and step."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    for key in progress.running:
        stage = progress.stages[key]
        groups.setdefault((stage.dataset, stage.step_title, stage.epochs), []).append(key)
    shown = []
    for (dataset, step, epochs), keys in groups.items():
        rows = [progress.running[key] for key in keys]
        aurocs = [row["auroc"] for row in rows if "auroc" in row]
        losses = [row["loss/0"] for row in rows if "loss/0" in row]
        stages = [progress.stages[key] for key in keys]
        shown.append(
            RunningGroup(
                _group_title(f"{dataset} {step}", stages, progress.has_seeds),
                min(int(row.get("epoch", 0)) for row in rows),
                epochs,
                "-".join(f"{value:.4f}" for value in dict.fromkeys((min(aurocs), max(aurocs))))
                if aurocs
                else "",
                mean(losses) if losses else None,
            )
        )
    return shown


class Display(Protocol):
    """A way to show a :class:`Progress`."""

    def refresh(self, progress: Progress) -> None:
        """Show how far it is; called often."""

    def say(self, line: str) -> None:
        """Show something that happened."""

    def close(self) -> None:
        """End the display: take it away, or leave it as it is."""


class PlainDisplay:
    """Plain lines: what happens when it happens, and the progress every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def refresh(self, progress: Progress) -> None:
        """Print how far the sweep is, if nothing was printed for some seconds."""
        if time.monotonic() - self._last < PLAIN_INTERVAL_S:
            return
        running = "; ".join(
            f"{group.title} {group.epoch}/{group.epochs}" + (group.auroc and f" {group.auroc}")
            for group in running_groups(progress)
        )
        self.say(f"{progress.summary()} · running: {running or 'nothing'}")

    def say(self, line: str) -> None:
        """Print a line with the time of day."""
        self._last = time.monotonic()
        self._console.print(f"{time.strftime('%H:%M:%S')} {line}", soft_wrap=True)

    def close(self) -> None:
        """Do nothing: lines stay."""


class LiveDisplay:
    """A table on a terminal, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4)
        self._live.start()

    def refresh(self, progress: Progress) -> None:
        """Redraw the table."""
        table = Table(box=None)
        for heading in ("running", "epoch", "", "AUROC", "loss"):
            table.add_column(heading)
        for group in running_groups(progress):
            table.add_row(
                Text(group.title),
                f"{group.epoch}/{group.epochs}",
                ProgressBar(group.epochs, group.epoch, width=24),
                group.auroc or "-",
                "starting" if group.loss is None else f"{group.loss:.4f}",
            )
        self._live.update(Group(Text(progress.summary()), table))

    def say(self, line: str) -> None:
        """Print a line above the table."""
        self._console.print(line)

    def close(self) -> None:
        """Leave the table as it is."""
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
