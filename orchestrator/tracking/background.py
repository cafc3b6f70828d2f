"""MLflow, written in a thread of its own."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from kd_models.methods.base import PretrainedWeights
from orchestrator.console import Say
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.results import CandidateResult, candidate_result, stage_result
from orchestrator.store.stages import Store
from orchestrator.tracking.client import little_patience
from orchestrator.tracking.runs import Tracker

_PATIENCE_SECONDS = 5.0
"""after which a person is told what the end of a sweep waits for"""


class BackgroundTracker:
    """Writes to MLflow in order, off the path of the trials.

    A tracking server that goes away loses nothing: what it missed is logged at the end of the
    sweep, or when the same sweep is run again.

    Args:
        tracker: what writes.
        plan: of the sweep.
        store: where finished stages are.
    """

    def __init__(self, tracker: Tracker, plan: Plan, store: Store) -> None:
        self._tracker, self._plan, self._store = tracker, plan, store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._pending: list[Future[None]] = []
        self._open: dict[str, Stage] = {}
        """stages whose runs do not say yet what became of them"""
        self._failed: dict[str, tuple[str, str]] = {}
        """status and reason by stage key"""
        self._errors: dict[str, Exception] = {}
        """the last one by stage key; of the sweep's own run by an empty one"""
        self._ending = self._gave_up = False
        self._rows: dict[str, list[Mapping[str, float]]] = {}
        self._rows_lock = threading.Lock()

    def start_sweep(self, pretrained: PretrainedWeights | None, finished: Collection[str]) -> None:
        """Open the sweep's own run, and log what the store has.

        Args:
            pretrained: the pretrained weights, if the method has any.
            finished: keys of the stages that the store has.
        """
        self._tracker.start_sweep(pretrained)
        for key in finished:
            self.finish(self._plan.stages[key])

    def reopen(self, stage: Stage) -> None:
        """Log that a stage is about to train."""
        self._open[stage.key] = stage
        self._submit(stage.key, self._tracker.reopen, stage)

    def epochs(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        """Log finished epochs of a stage; those that wait are logged by one call."""
        with self._rows_lock:
            is_first = stage.key not in self._rows
            self._rows.setdefault(stage.key, []).extend(rows)
        if is_first:
            self._submit(stage.key, self._log_epochs, stage)

    def finish(self, stage: Stage) -> None:
        """Log that a stage is stored."""
        self._submit(stage.key, self._finish, stage)

    def fail(self, stage: Stage, status: str, reason: str) -> None:
        """Log that a stage was not trained; arguments as for ``Tracker.fail_stage``."""
        self._open[stage.key] = stage
        self._failed[stage.key] = (status, reason)
        self._submit(stage.key, self._fail, stage)

    def finish_sweep(self, results: Sequence[CandidateResult], say: Say) -> tuple[str, ...]:
        """Close the sweep's own run.

        Args:
            results: of all candidates.
            say: told what is waited for, if that takes long.

        Returns:
            What could not be logged and why, each once.
        """
        self._pending.append(self._thread.submit(self._finish_sweep, results))
        self._ending = True
        _, left = wait(self._pending, timeout=_PATIENCE_SECONDS)
        if left:
            say(f"logging what is left to MLflow: {len(left)} writes")
        self._end()
        return tuple(dict.fromkeys(f"{type(e).__name__}: {e}"[:300] for e in self._errors.values()))

    def interrupt_sweep(self) -> None:
        """Log that the sweep and the stages that are running will not go on now.

        What else waits to be logged is dropped: the next run of the sweep logs it. A server that
        does not answer is not waited for.
        """
        for future in self._pending:
            future.cancel()
        self._ending = True
        with little_patience():
            for stage in list(self._open.values()):
                if stage.key in self._failed:
                    self._submit(stage.key, self._fail, stage)
                elif self._store.has(stage.key):
                    self.finish(stage)
                else:
                    self.fail(stage, "interrupted", "the sweep was interrupted")
            self._submit("", self._tracker.interrupt_sweep)
            self._end()

    def _end(self) -> None:
        # Before the shutdown: a wait can be interrupted, and more submitted after it.
        wait(self._pending)
        self._thread.shutdown()

    def _log_epochs(self, stage: Stage) -> None:
        with self._rows_lock:
            rows = self._rows.pop(stage.key, [])
        self._tracker.log_epochs(stage, rows)

    def _finish(self, stage: Stage) -> None:
        if not self._tracker.is_complete(stage):
            plan, candidate = self._plan, self._plan.candidate_of.get(stage.key)
            self._tracker.finish_stage(
                stage_result(stage, self._store, plan.spec.evaluation.protocol),
                None if candidate is None else candidate_result(plan, candidate, self._store),
            )
        self._open.pop(stage.key, None)
        self._errors.pop(stage.key, None)  # what could not be logged before has been now

    def _fail(self, stage: Stage) -> None:
        self._tracker.fail_stage(stage, *self._failed[stage.key])
        self._open.pop(stage.key, None)
        self._errors.pop(stage.key, None)

    def _finish_sweep(self, results: Sequence[CandidateResult]) -> None:
        # What was away when a stage ended, MLflow or the place of its artifacts, may be back.
        for key in [key for key in self._errors if key]:
            if key in self._failed:
                self._write(key, self._fail, self._plan.stages[key])
            elif self._store.has(key):
                self._write(key, self._finish, self._plan.stages[key])
        self._write("", self._tracker.finish_sweep, results)

    def _submit(self, key: str, write: Callable[..., None], *arguments: object) -> None:
        self._pending.append(self._thread.submit(self._write, key, write, *arguments))

    def _write(self, key: str, write: Callable[..., None], *arguments: object) -> None:
        if self._gave_up:
            return
        try:
            write(*arguments)
        except Exception as error:
            self._errors[key] = error
            # At the end nothing is gained by waiting for each of many writes.
            self._gave_up = self._ending and not self._tracker.answers()
