"""What failed in a sweep, as far as it left a trace that others can read."""

from orchestrator.planning.plan import Plan
from orchestrator.running.checkpoints import Checkpoints
from orchestrator.store.stages import Store

_MOST = 200
"""checkpoints that are read: each is as large as its networks"""


def failures(
    plan: Plan, store: Store, checkpoints: Checkpoints
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stages that diverged and the candidates that need one, both as in Schedule.

    A stage that failed otherwise leaves nothing, and is merely not there.

    Args:
        plan: of the sweep.
        store: where finished stages are.
        checkpoints: of its unfinished stages.
    """
    there = store.present(plan.stages)
    lost = [key for key in plan.stages if key not in there]
    failed = checkpoints.diverged(lost[:_MOST])
    skipped = {
        candidate.key: origin
        for candidate in plan.candidates
        if candidate.key not in there
        for origin in [next((key for key in candidate.stages[:-1] if key in failed), None)]
        if origin is not None
    }
    return failed, skipped
