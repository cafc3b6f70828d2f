"""Packs one after another in this process, beside other sweeps."""

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.executors.base import Work
from orchestrator.executors.inline import InlineExecutor
from orchestrator.planning.schedule import Schedule
from orchestrator.store.leases import Leases
from orchestrator.store.stages import Store


def test_a_pack_starts_when_no_other_sweep_trains_it(
    trained: Any, work: Callable[..., Work], store: Store, listener: Any
) -> None:
    """Whoever interrupts a sweep that only waits must not end the runs of the one that trains."""
    pack = trained.plan.packs()[0]
    arguments = (Schedule((pack,), concurrent=1), work(), listener)
    runner = threading.Thread(target=InlineExecutor().run, args=arguments)
    with Leases(store.objects) as leases:
        assert leases.take([pack.stages[0].key]) == {}
        runner.start()
        assert listener.spoke.wait(20)
        (line,) = listener.events
        assert line == f"waiting for {leases.owner}, which trains digits 0 teacher"
    runner.join(60)
    assert listener.events[1:] == ["started digits 0 teacher", "ended digits 0 teacher"]


def test_what_the_store_has_by_now_is_not_trained(
    trained: Any, work: Callable[..., Work], store: Store, listener: Any
) -> None:
    pack = trained.plan.packs()[0]
    for stage in pack.stages:
        store.write(stage.key, {"made up": b"1"})
        store.objects.put(f"checkpoints/{stage.key[:2]}/{stage.key}", b"half")
    InlineExecutor().run(Schedule((pack,), concurrent=1), work(), listener)
    assert listener.events == ["ended digits 0 teacher"]
    assert list(store.objects.names("checkpoints/")) == []
    assert list(store.objects.names("leases/")) == []
