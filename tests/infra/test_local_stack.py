"""The stack of this machine: what is started, noted and started again. Its services sleep."""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from infra.local import mlflow_server, postgres, ray_nodes, s3_server
from infra.local.services import Note, Service, ServiceError, forget, start_service
from infra.local.stack import Stack

WORKERS = ["worker-1", "worker-2"]
NAMES = ["the S3 server", "PostgreSQL", "the MLflow server", "head", *WORKERS]


class Machine:
    """Where the stack's services are started, each as the real one but for its program."""

    def __init__(self) -> None:
        self.started: list[Service] = []
        self.broken: set[str] = set()
        self.when_asked: Callable[[Service], None] = lambda service: None

    def start_service(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        user: str | None = None,
        note: Note = forget,
    ) -> Service:
        self.started.append(start_service(name, ["sleep", "600"], log, {}, None, note))
        return self.started[-1]

    def serves(self, service: Service) -> bool:
        self.when_asked(service)
        if service.name in self.broken:
            service.kill()
        return service.name not in self.broken


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    sleeping, wait_until = Machine(), Service.wait_until
    for module in (s3_server, postgres, mlflow_server, ray_nodes):
        monkeypatch.setattr(module, "start_service", sleeping.start_service)
    monkeypatch.setattr(
        Service,
        "wait_until",
        lambda self, _, seconds: wait_until(self, lambda: sleeping.serves(self), seconds),
    )
    yield sleeping
    for service in sleeping.started:
        service.kill()


@pytest.fixture
def stack(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Stack:
    folder = tmp_path / "stack"
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres/PG_VERSION").touch()
    monkeypatch.setattr("infra.local.stack.postgres_programs", lambda: tmp_path)
    return Stack(folder)


def up(stack: Stack) -> list[str]:
    said: list[str] = []
    stack.up(said.append)
    return said


def names(stack: Stack) -> list[str]:
    return [service.name for service in stack.services()]


def forget_all_but(stack: Stack, kept: Sequence[str]) -> None:
    """Leave of the stack what one has that was killed before it noted the others."""
    file = stack.folder / "running.json"
    noted = json.loads(file.read_text())
    for service in stack.services():
        if service.name not in kept:
            service.kill()
    file.write_text(json.dumps([entry for entry in noted if entry["name"] in kept]))


def test_a_whole_stack_is_started_once(stack: Stack, machine: Machine) -> None:
    up(stack)
    assert names(stack) == NAMES
    assert "it runs already" in up(stack)[0]
    assert len(machine.started) == len(NAMES)
    stack.down(lambda line: None)
    assert not any(service.is_running() for service in machine.started)
    assert stack.services() == []


def test_a_service_is_noted_before_it_serves(stack: Stack, machine: Machine) -> None:
    noted = []
    machine.when_asked = lambda service: noted.append(service in stack.services())
    up(stack)
    assert len(noted) >= len(NAMES)
    assert all(noted)


@pytest.mark.parametrize("known", range(1, 4))
def test_of_a_start_that_was_killed_all_is_started_anew(
    stack: Stack, machine: Machine, known: int
) -> None:
    up(stack)
    forget_all_but(stack, NAMES[:known])
    left = stack.services()
    said = up(stack)
    assert "head, worker-1, worker-2 not running: all is started anew" in said[0]
    assert names(stack) == NAMES
    assert all(service.is_running() for service in stack.services())
    assert not any(service.is_running() for service in left)


@pytest.mark.parametrize("missing", [WORKERS[:1], WORKERS[1:], WORKERS])
def test_workers_that_are_missing_join(
    stack: Stack, machine: Machine, missing: Sequence[str]
) -> None:
    up(stack)
    forget_all_but(stack, [name for name in NAMES if name not in missing])
    before = stack.services()
    up(stack)
    assert sorted(names(stack)) == sorted(NAMES)
    assert [service.name for service in machine.started[len(NAMES) :]] == missing
    assert all(service.is_running() for service in [*before, *stack.services()])


def test_a_worker_that_does_not_start_again_is_tried_the_next_time(
    stack: Stack, machine: Machine
) -> None:
    up(stack)
    machine.broken = {"worker-1"}
    stack.services()[NAMES.index("worker-1")].kill()
    for _ in range(2):
        with pytest.raises(ServiceError, match="worker-1 has ended"):
            up(stack)
        assert sorted(names(stack)) == sorted(NAMES)
    machine.broken = set()
    up(stack)
    assert sorted(names(stack)) == sorted(NAMES)
    assert all(service.is_running() for service in stack.services())


def test_of_a_stack_that_does_not_start_nothing_stays(stack: Stack, machine: Machine) -> None:
    machine.broken = {"the MLflow server"}
    with pytest.raises(ServiceError, match="the MLflow server has ended"):
        up(stack)
    assert [service.name for service in machine.started] == NAMES[:3]
    assert not any(service.is_running() for service in machine.started)
    assert stack.services() == []


def test_a_service_that_cannot_be_noted_is_stopped(tmp_path: Path) -> None:
    started = []

    def note(service: Service) -> None:
        started.append(service)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        start_service("sleeper", ["sleep", "600"], tmp_path / "log", {}, note=note)
    assert not started[0].is_running()


def test_what_is_written_down_is_whole_or_as_it_was(
    stack: Stack, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written beside its place, from the start for its owner alone."""
    modes = set()

    def replace(source: Path, target: Path) -> None:
        modes.add(stat.S_IMODE(source.stat().st_mode))
        raise OSError("killed")

    up(stack)
    stack.down(lambda line: None)
    before = stack.credentials.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("infra.local.stack.os.replace", replace)
        with pytest.raises(OSError, match="killed"):
            up(stack)
        assert stack.credentials.read_bytes() == before
        patch.setattr(stack, "_write_down", lambda environment: None)
        with pytest.raises(OSError, match="killed"):
            up(stack)
        assert stack.services() == []
    assert modes == {0o600}
    up(stack)
    assert stat.S_IMODE(stack.credentials.stat().st_mode) == 0o600
    assert names(stack) == NAMES


def test_the_user_of_postgresql_finds_its_data_whatever_roots_mask_is(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.stack.postgres_programs", lambda: None)
    stack = Stack(tmp_path / "new/stack")
    before = os.umask(0o077)
    try:
        up(stack)
    finally:
        os.umask(before)
    for folder in (stack.folder.parent, stack.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711


def test_a_folder_that_was_there_keeps_its_mode(stack: Stack, machine: Machine) -> None:
    stack.folder.chmod(0o750)
    up(stack)
    assert stat.S_IMODE(stack.folder.stat().st_mode) == 0o750
