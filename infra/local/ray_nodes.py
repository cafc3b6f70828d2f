"""The nodes of a Ray cluster on this machine: a head, and workers that may come and go."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SECONDS_TO_START = 90


@dataclass(frozen=True)
class RayNode:
    """A node, with all of its processes.

    Attributes:
        process: ``ray start``, which stays in the foreground; with it the node ends.
        address: of the cluster.
    """

    process: "subprocess.Popen[bytes]"
    address: str

    def kill(self) -> None:
        """Let the node die as a machine does that is taken away: without a word."""
        family = self._family()
        for process in family:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        self.process.wait()

    def stop(self) -> None:
        """End the node."""
        family = self._family()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            _signal(process, signal.SIGKILL)

    def _family(self) -> list[psutil.Process]:
        try:
            itself = psutil.Process(self.process.pid)
            return [itself, *itself.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def start_head(
    folder: Path,
    port: int,
    environment: Mapping[str, str],
    options: Sequence[str] = (),
) -> RayNode:
    """Start the head of a cluster on loopback.

    Args:
        folder: for its log, ``ray-head.log``.
        port: of the cluster's address.
        environment: what it needs beside this process's own, such as its token.
        options: more of ``ray start``.

    Raises:
        RuntimeError: it does not start; the message has the end of its log.
    """
    own = ("--head", f"--port={port}", "--disable-usage-stats")
    return _start(folder / "ray-head.log", f"127.0.0.1:{port}", environment, (*own, *options))


def start_worker(
    folder: Path,
    name: str,
    address: str,
    environment: Mapping[str, str],
    options: Sequence[str] = (),
) -> RayNode:
    """Let a node join a cluster; arguments and errors as for :func:`start_head`."""
    own = (f"--address={address}", f"--node-name={name}")
    return _start(folder / f"ray-{name}.log", address, environment, (*own, *options))


def _start(
    log: Path, address: str, environment: Mapping[str, str], options: Sequence[str]
) -> RayNode:
    log.parent.mkdir(parents=True, exist_ok=True)
    ray = str(Path(sys.executable).with_name("ray"))
    clean = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [ray, "start", "--block", "--node-ip-address=127.0.0.1", *options],
            env={**clean, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    node = RayNode(process, address)
    deadline = time.monotonic() + _SECONDS_TO_START
    # It says so when its processes run, and then stays.
    while "--block" not in (said := log.read_text(encoding="utf-8", errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            node.stop()
            raise RuntimeError(f"a node of Ray does not start (see {log}):\n{said[-2000:]}")
        time.sleep(0.1)
    return node


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
