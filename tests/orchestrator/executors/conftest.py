"""What executors are tried on: real packs of tiny trainings, and a listener that keeps events."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kd_models.data import ImageSet
from orchestrator.executors.base import Work
from orchestrator.planning.pack import Pack
from orchestrator.store import open_store
from orchestrator.store.stages import Store


@dataclass
class Recorder:
    """A listener."""

    events: list[str] = field(default_factory=list)
    spoke: threading.Event = field(default_factory=threading.Event)
    refreshes: int = 0

    def pack_started(self, pack: Pack) -> None:
        self.events.append(f"started {pack.title}")

    def pack_ended(self, pack: Pack, failures: Mapping[str, str]) -> Mapping[str, str]:
        failed = f", {len(failures)} failed" if failures else ""
        self.events.append(f"ended {pack.title}{failed}")
        return failures

    def epochs_finished(self, stage_key: str, rows: Any) -> None: ...

    def refresh(self) -> None:
        self.refreshes += 1

    def said(self, line: str) -> None:
        self.events.append(line)
        self.spoke.set()


@pytest.fixture
def listener() -> Recorder:
    return Recorder()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "place"))


@pytest.fixture
def work(trained: Any, digits: ImageSet, store: Store) -> Callable[..., Work]:
    """The work of training ``trained``'s plan anew; stages and leases are in one place."""

    def make(**resources: Any) -> Work:
        spec = trained.plan.spec
        spec = spec.model_copy(update={"resources": spec.resources.model_copy(update=resources)})
        return Work(spec, store, store.objects, {"digits": digits}, None)

    return make
