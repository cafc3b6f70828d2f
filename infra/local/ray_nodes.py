"""Nodes of a Ray cluster on loopback: a head, and workers that may come and go."""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local import loopback_ray
from infra.local.loopback_ray import LOOPBACK
from infra.local.services import Note, Service, forget, start_service

_SECONDS_TO_START = 90

HEAD = "head"


def start_head(
    folder: Path,
    port: int,
    environment: Mapping[str, str],
    options: Sequence[str] = (),
    note: Note = forget,
) -> Service:
    """Start the head of a cluster, whose address is then 127.0.0.1:``port``.

    Args:
        folder: for its log, ``ray-head.log``.
        port: of the cluster's address.
        environment: what it needs beside this process's own, such as its token.
        options: more of ``ray start``.
        note: takes its process before other nodes can join.

    Raises:
        ServiceError: it does not start; the message has the end of its log.
    """
    own = ("--head", f"--port={port}", "--disable-usage-stats")
    return _start(HEAD, folder, environment, (*own, *options), note)


def start_worker(
    folder: Path,
    name: str,
    address: str,
    environment: Mapping[str, str],
    options: Sequence[str] = (),
    note: Note = forget,
) -> Service:
    """Let a node join a cluster; other arguments and errors as for :func:`start_head`."""
    # Nodes that share a folder would delete a job's files there under the others.
    folder_of_its_own = f"--temp-dir={tempfile.gettempdir()}/ray-{name}"
    own = (f"--address={address}", f"--node-name={name}", folder_of_its_own)
    return _start(name, folder, environment, (*own, *options), note)


def _start(
    name: str, folder: Path, environment: Mapping[str, str], options: Sequence[str], note: Note
) -> Service:
    command = [sys.executable, "-P", loopback_ray.__file__, "start", "--block"]
    node = start_service(
        name,
        [*command, "--node-ip-address=127.0.0.1", *options],
        folder / f"ray-{name}.log",
        {
            **environment,
            **dict.fromkeys(LOOPBACK, "1"),  # or no second node may join
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # it ends when it is told to
        },
        note=note,
    )
    # It says so when its processes run, and then stays.
    node.wait_until(lambda: "--block" in node.said(), _SECONDS_TO_START)
    return node
