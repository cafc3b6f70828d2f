"""(h) Which of 10,000 stages a store has: seconds, for a folder and for a bucket."""

import hashlib
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import by_turns, emit
from infra.local.s3_server import s3_server
from kd_models.threads import in_threads
from orchestrator.s3_client import AT_ONCE
from orchestrator.store import open_store

STAGES = 10_000
KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(STAGES)]


def fill(uri: str) -> None:
    """Write the stages, each with three small files."""
    store = open_store(uri)

    def write(key: str) -> None:
        store.write(key, {name: f"{name} of {key}".encode() for name in ("a", "b", "c")})

    for _ in in_threads(write, KEYS, AT_ONCE):
        pass


def status(uri: str) -> float:
    """Return the seconds of the question, asked for as many more that are not there."""
    missing = [key[::-1] for key in KEYS]
    store, began = open_store(uri), time.perf_counter()
    assert store.present([*KEYS, *missing]) == frozenset(KEYS)
    return time.perf_counter() - began


def main() -> None:
    """Measure both."""
    with (
        tempfile.TemporaryDirectory() as folder,
        s3_server(Path(folder) / "s3", "kd-bench") as server,
    ):
        os.environ.update(server.environment)
        places = {"folder": f"{folder}/store", "bucket": f"s3://{server.bucket}/store"}
        for uri in places.values():
            fill(uri)
        sides = {name: partial(status, uri) for name, uri in places.items()}
        emit("status of 10,000 stages", "s", by_turns(sides))


if __name__ == "__main__":
    main()
