"""What trials tell is shown, however often Tune asks for more of them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from ray.exceptions import RayActorError

from orchestrator.executors.base import Work
from orchestrator.executors.dispatcher import Dispatcher
from orchestrator.executors.ray_tune import running_trials as module
from orchestrator.executors.ray_tune.running_trials import RunningTrials
from orchestrator.planning.schedule import Schedule
from orchestrator.store.leases import Leases
from orchestrator.store.stages import Store


def restarting() -> NoReturn:
    """The progress actor, while it starts again."""
    raise RayActorError


def test_to_be_asked_for_trials_does_not_keep_progress_from_being_shown(
    work: Callable[..., Work], store: Store, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune asks at every step, ten times a second: where that counted, nothing was ever shown."""
    actor: Any = SimpleNamespace(take=SimpleNamespace(remote=restarting))
    seconds = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: seconds))
    with Leases(store.objects) as leases:
        dispatcher = Dispatcher(Schedule([], 1), work(), leases, listener)
        trials = RunningTrials(listener, dispatcher, actor, reuse_trials=True)
        for _ in range(20):
            assert trials.suggest("a trial") is None
            trials.refresh()
            seconds += 0.25
    assert listener.refreshes == 10, "not every 0.3 s, which here is at every second step"
