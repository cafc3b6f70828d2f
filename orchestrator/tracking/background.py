"""MLflow, written in a thread of its own."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.reporting.results import CandidateResult, candidate_result, stage_result
from orchestrator.store.base import Store
from orchestrator.store.record import is_trained
from orchestrator.tracking.runs import Tracker


class BackgroundTracker:
    """A tracker that writes to MLflow in order, off the path of the trials.

    Nothing is lost if the tracking server goes away: what it missed is logged when the same sweep
    is run again.
    """

    def __init__(self, tracker: Tracker, plan: Plan, store: Store) -> None:
        self._tracker, self._plan, self._store = tracker, plan, store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._pending: list[Future[None]] = []
        self._running: dict[str, Stage] = {}
        self._rows: dict[str, list[Mapping[str, float]]] = {}
        self._rows_lock = threading.Lock()

    def reopen(self, stage: Stage) -> None:
        """Log that a stage is about to train."""
        self._running[stage.key] = stage
        self._submit(self._tracker.reopen, stage)

    def epochs(self, stage: Stage, rows: Sequence[Mapping[str, float]]) -> None:
        """Log epochs of a stage that are finished; those that wait are logged by one call."""
        with self._rows_lock:
            is_first = stage.key not in self._rows
            self._rows.setdefault(stage.key, []).extend(rows)
        if is_first:
            self._submit(self._log_epochs, stage)

    def finish(self, stage: Stage) -> None:
        """Log a stage that is stored."""
        self._running.pop(stage.key, None)
        self._submit(self._finish, stage)

    def fail(self, stage: Stage, status: str, reason: str) -> None:
        """Log that a stage was not trained; arguments as for ``Tracker.fail_stage``."""
        self._running.pop(stage.key, None)
        self._submit(self._tracker.fail_stage, stage, status, reason)

    def finish_sweep(self, results: list[CandidateResult]) -> tuple[str, ...]:
        """Close the sweep's own run; return what could not be logged and why, each once."""
        self._submit(self._tracker.finish_sweep, results)
        self._thread.shutdown()
        errors = [_error_of(future) for future in self._pending]
        return tuple(dict.fromkeys(f"{type(e).__name__}: {e}"[:300] for e in errors if e))

    def interrupt_sweep(self) -> None:
        """Log that the sweep and the stages that are running will not go on now.

        What else waits to be logged is dropped: the next run of the sweep logs it.
        """
        for future in self._pending:
            future.cancel()
        for stage in list(self._running.values()):
            if is_trained(self._store, stage):
                self.finish(stage)
            else:
                self.fail(stage, "interrupted", "the sweep was interrupted")
        self._submit(self._tracker.interrupt_sweep)
        self._thread.shutdown()

    def _log_epochs(self, stage: Stage) -> None:
        with self._rows_lock:
            rows = self._rows.pop(stage.key, [])
        self._tracker.log_epochs(stage, rows)

    def _finish(self, stage: Stage) -> None:
        if self._tracker.is_complete(stage):
            return
        plan, candidate = self._plan, self._plan.candidate_of.get(stage.key)
        self._tracker.finish_stage(
            stage_result(stage, self._store, plan.spec.evaluation.protocol),
            None if candidate is None else candidate_result(plan, candidate, self._store),
        )

    def _submit(self, function: Callable[..., None], *arguments: object) -> None:
        self._pending.append(self._thread.submit(function, *arguments))


def _error_of(future: Future[None]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError:
        return None
