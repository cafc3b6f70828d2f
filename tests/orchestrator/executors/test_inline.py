"""Packs one after another in this process, beside other sweeps."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kd_models.data import ImageSet
from orchestrator.executors.base import Work, pack_lock
from orchestrator.executors.inline import InlineExecutor
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.schedule import Schedule
from orchestrator.store import open_store
from orchestrator.store.stages import Store


class Recorder:
    """A listener."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.waits = threading.Event()

    def pack_started(self, pack: Pack) -> None:
        self.events.append("started")

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        self.events.append("ended")
        return failures

    def epochs_finished(self, stage_key: str, rows: Any) -> None: ...

    def refresh(self) -> None: ...

    def said(self, line: str) -> None:
        self.events.append(line)
        self.waits.set()


@pytest.fixture
def work(trained: Any, digits: ImageSet, tmp_path: Path) -> Callable[..., Work]:
    def make(store: Store) -> Work:
        return Work(trained.plan.spec, store, {"digits": digits}, None, tmp_path / "runs")

    return make


def test_a_pack_starts_when_no_other_sweep_trains_it(
    trained: Any, work: Callable[..., Work], tmp_path: Path
) -> None:
    """Whoever interrupts a sweep that only waits must not end the runs of the one that trains."""
    plan: Plan = trained.plan
    pack = plan.packs()[0]
    listener, here = Recorder(), work(open_store(str(tmp_path / "store")))
    arguments = (Schedule((pack,), concurrent=1), here, listener)
    runner = threading.Thread(target=InlineExecutor().run, args=arguments)
    with pack_lock(pack, here.folder, print):
        runner.start()
        assert listener.waits.wait(20)
        assert listener.events == ["waiting for another sweep that trains digits 0 teacher"]
    runner.join(60)
    assert listener.events[1:] == ["started", "ended"]


def test_the_checkpoint_of_a_pack_that_others_trained_goes(
    trained: Any, work: Callable[..., Work]
) -> None:
    pack = trained.plan.packs()[0]
    here = work(trained.store)
    left = here.folder / "inline" / pack.key / "half"
    left.mkdir(parents=True)
    listener = Recorder()
    InlineExecutor().run(Schedule((pack,), concurrent=1), here, listener)
    assert listener.events == ["started", "ended"]
    assert not left.exists()
