"""The places of a sweep's results: can they be written and read, here and on every machine?"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from uuid import uuid4

from orchestrator.doctor.findings import DRIVER, Finding, Look
from orchestrator.planning.storage import StorageSpec
from orchestrator.store import open_objects
from orchestrator.store.objects import Objects, StoreError
from orchestrator.store.s3 import S3Objects

_CHECK = "storage"
_LARGE_BYTES = 20 << 20
"""of a probe that is uploaded in parts"""
_SECONDS_APART = 60
"""beyond which logs are hard to read, and something is wrong"""
_OTHERWISE = "see whether the place is well, and whether this machine may use it"


def places_of(storage: StorageSpec) -> dict[str, Objects]:
    """Return the places of a sweep's stages, checkpoints and leases, by URI."""
    uris = dict.fromkeys((storage.root_uri, storage.store_uri))
    return {uri: open_objects(uri, storage.s3) for uri in uris}


def look_at_places(storage: StorageSpec, where: str = DRIVER, *, large: bool) -> list[Finding]:
    """Return what became of bytes that were written, read, listed and removed.

    Args:
        storage: the sweep's.
        where: this machine's name.
        large: whether to send a large probe as well.
    """
    look = Look(_CHECK, where)
    return [
        finding
        for objects in places_of(storage).values()
        for finding in look.attempt(partial(_round_trip, look, objects, large), _OTHERWISE)
    ]


def _round_trip(look: Look, objects: Objects, large: bool) -> Iterator[Finding]:
    began = time.monotonic()
    objects.check_writable()
    if isinstance(objects, S3Objects):
        yield clock_finding(Look("clock", look.where), objects.seconds_ahead(), "that of S3")
    if large:
        yield from _large(look, objects)
    if not objects.has_conditions():
        yield look.warning(
            f"{objects.uri} ignores conditions of writes, so two sweeps may train a stage twice; "
            "nothing breaks",
            "use a server that honours If-None-Match (a file system with hard links), or run one "
            "sweep at a time",
        )
    milliseconds = (time.monotonic() - began) * 1000
    yield look.ok(f"{objects.uri} can be written and read ({milliseconds:.0f} ms)")


def _large(look: Look, objects: Objects) -> Iterator[Finding]:
    name, data = f"probes/{uuid4().hex}", os.urandom(_LARGE_BYTES)
    objects.put(name, data)
    try:
        came_back, listed = objects.get(name) == data, set(objects.names("probes/"))
    finally:
        objects.delete(name)
    if not came_back:
        yield look.fault(
            f"{objects.uri}: {len(data):,} bytes, sent in parts, came back changed",
            "use another S3 server, or another version of it",
        )
    if name not in listed:
        yield look.fault(
            f"{objects.uri}: a listing lacks what was just written",
            "use a server that lists consistently, and give the credentials s3:ListBucket",
        )


def clock_finding(look: Look, ahead: float, other: str) -> Finding:
    """Return whether two clocks agree.

    Args:
        look: makes the finding.
        ahead: by how many seconds this machine's is ahead of the other, or behind if negative.
        other: whose clock the other is.
    """
    if abs(ahead) < _SECONDS_APART:
        return look.ok(f"within {max(abs(ahead), 1):.0f} s of {other}")
    direction = "ahead of" if ahead > 0 else "behind"
    return look.warning(
        f"this machine's clock is {abs(ahead):.0f} s {direction} {other}; S3 refuses requests "
        "that are 900 s off",
        "set the clock (chrony or systemd-timesyncd)",
    )


class LeftWords:
    """Words left in every place, for other machines to read: do they see the same places?

    In a place that cannot be written there is none.

    Args:
        storage: the sweep's.
    """

    def __init__(self, storage: StorageSpec) -> None:
        self._storage = storage
        self._words: dict[str, tuple[str, bytes]] = {}

    def __enter__(self) -> Mapping[str, tuple[str, bytes]]:
        for uri, objects in places_of(self._storage).items():
            name, word = f"probes/{uuid4().hex}", uuid4().bytes
            with contextlib.suppress(StoreError):  # which is a finding already
                objects.put(name, word)
                self._words[uri] = name, word
        return self._words

    def __exit__(self, *error: object) -> None:
        for uri, objects in places_of(self._storage).items():
            if uri in self._words:
                with contextlib.suppress(StoreError):  # which is a finding of its own
                    objects.delete(self._words[uri][0])


def look_for_words(
    storage: StorageSpec, words: Mapping[str, tuple[str, bytes]], where: str
) -> list[Finding]:
    """Return whether this machine sees the words that another one has left."""
    look = Look(_CHECK, where)

    def read(uri: str, objects: Objects) -> Iterator[Finding]:
        name, word = words[uri]
        try:
            is_same = objects.get(name) == word
        except KeyError:
            is_same = False
        if not is_same:
            yield look.fault(
                f"{uri} is not what the machine that runs the sweep sees there",
                "set storage.root to s3://bucket/prefix, or to a folder that all machines share",
            )

    return [
        finding
        for uri, objects in places_of(storage).items()
        if uri in words
        for finding in look.attempt(partial(read, uri, objects), _OTHERWISE)
    ]
