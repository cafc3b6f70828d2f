"""Passes on what happens in a sweep: to the display, and to MLflow."""

import contextlib
from collections.abc import Mapping, Sequence

from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.reporting.progress import Display, Progress, counted
from orchestrator.store.objects import StoreError
from orchestrator.store.stages import Store
from orchestrator.tracking.background import BackgroundTracker


class SweepListener:
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
        there = frozenset(stage.key for stage in pack.stages)
        with contextlib.suppress(StoreError):  # as long as it cannot be asked, it is believed
            there = self._store.present(there)
        for stage in pack.stages:
            if stage.key not in known and stage.key not in there:
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
