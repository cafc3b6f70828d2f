"""Services of this machine: processes that outlive whoever starts them."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from orchestrator.process_identity import identity_of

_SECONDS_TO_END = 8
_HIGHEST_PORT = 55_000
"""SeaweedFS answers gRPC at each of its ports plus 10,000"""

_started: list["subprocess.Popen[bytes]"] = []
"""kept, since Python warns of one that is forgotten while it runs, which these are meant to"""


class ServiceError(Exception):
    """A service does not start; the message has the end of its log."""


@dataclass(frozen=True)
class Service:
    """A process that serves, with those it started.

    Attributes:
        name: for people.
        pid: its number, and that of its session, which it began.
        identity: which process that is, see :func:`identity_of`.
        log: the file of what it tells.
    """

    name: str
    pid: int
    identity: str
    log: str

    def is_running(self) -> bool:
        """Return whether it runs."""
        return identity_of(self.pid) == self.identity

    def kill(self) -> None:
        """End it and all it started as a machine does that is taken away: without a word."""
        self._end(self._family())

    def stop(self) -> None:
        """End it and all it started."""
        family = self._family()
        if self.is_running():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self.pid).terminate()
            psutil.wait_procs(family, _SECONDS_TO_END)
        self._end(family)

    def said(self) -> str:
        """Return the end of its log."""
        with contextlib.suppress(OSError):
            return Path(self.log).read_text(encoding="utf-8", errors="replace")[-2000:]
        return ""

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait until it serves. If it does not come to that, it is stopped.

        Args:
            is_ready: asks it.
            seconds: how long at most.

        Raises:
            ServiceError: it ended, or took longer.
        """
        deadline = time.monotonic() + seconds
        try:
            while not is_ready():
                if not self.is_running():
                    raise ServiceError(
                        f"{self.name} has ended; its log, {self.log}:\n{self.said()}"
                    )
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"{self.name} is not ready after {seconds:.0f} seconds; "
                        f"its log, {self.log}:\n{self.said()}"
                    )
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise

    def _family(self) -> list[psutil.Process]:
        """Return it and all it started, of which some may run on where it has ended by itself."""
        now, here = identity_of(self.pid), identity_of(os.getpid()) or ""
        if now not in (None, self.identity) or here.split()[:2] != self.identity.split()[:2]:
            return []  # its number is another's, or it was of before the machine started again
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.pid:
                    found[process.pid] = process
        if self.is_running():
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.pid).children(recursive=True)
                found |= {child.pid: child for child in children}
        return list(found.values())

    @staticmethod
    def _end(family: list[psutil.Process]) -> None:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        for child in _started:
            child.poll()  # so that Python knows too


Note = Callable[[Service], None]
"""takes a service that was started, before it serves"""


def forget(service: Service) -> None:
    """Note nothing: for services that whoever starts them stops."""


def start_service(
    name: str,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    user: str | None = None,
    note: Note = forget,
) -> Service:
    """Start a service.

    Args:
        name: for people.
        command: its program and arguments; nothing secret, since every user can read them.
        log: the file for what it tells.
        environment: what it needs beside this process's own.
        user: who is to run it; None for who runs this process.
        note: takes it at once, so that it can be stopped whatever comes.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    _started.append(process)
    service = Service(name, process.pid, identity_of(process.pid) or "", str(log))
    try:
        note(service)
    except BaseException:
        service.stop()
        raise
    return service


def answers(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Return whether a server answers a request, and not with a refusal."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=5):
            return True
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False
    except OSError:
        return False


def free_port(preferred: int = 0) -> int:
    """Return a port of loopback that nobody listens at: the preferred one, if that is free."""
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", preferred))
            except OSError:
                preferred = 0
                continue
            port = int(probe.getsockname()[1])
        if port <= _HIGHEST_PORT:
            return port
