"""What trials tell is shown, however often Tune asks for more of them."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

from ray.exceptions import RayActorError

from orchestrator.executors.base import Work
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune.running_trials import RunningTrials
from orchestrator.planning.schedule import Schedule
from orchestrator.store.leases import Leases
from orchestrator.store.stages import Store


def restarting() -> NoReturn:
    """The progress actor, while it starts again."""
    raise RayActorError


def test_to_be_asked_for_trials_does_not_keep_progress_from_being_shown(
    work: Callable[..., Work], store: Store, listener: Any
) -> None:
    """Tune asks at every step, ten times a second: where that counted, nothing was ever shown."""
    actor: Any = SimpleNamespace(take=SimpleNamespace(remote=restarting))
    with Leases(store.objects) as leases:
        dispatcher = Dispatcher(Schedule([], 1), work(), leases, listener)
        trials = RunningTrials(listener, dispatcher, actor, reuse_trials=True)
        for _ in range(20):
            assert trials.suggest("a trial") is None
            trials.refresh()
            time.sleep(0.05)
    assert 2 <= listener.refreshes < 20
