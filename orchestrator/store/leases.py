"""Leases of stages: of several sweeps that want to train a stage, one does.

A lease is an object ``leases/KEY/GENERATION`` that names its owner, an object
``owners/TOKEN`` that the owner writes anew as long as it lives. The lease of the highest generation
holds. When its owner has lapsed, whoever writes the next generation first has it: that needs no
more than writing an object unless it is there.

A lease saves work and guards nothing: if two owners train a stage in the end, the store keeps one
whole.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Self
from uuid import uuid4

from orchestrator.process_identity import identity_of
from orchestrator.store.objects import Objects, StoreError, in_parallel

LAPSES_AFTER = 60.0
"""seconds without a sign of life, after which others take over an owner's leases"""
_RENEWED_EVERY = 15.0


@dataclass(frozen=True)
class Owner:
    """Who holds leases.

    Attributes:
        token: unlike every other owner's.
        host: the machine's name.
        process: its identity on this machine, see :func:`identity_of`.
        pid: its number.
        renewed: when it last gave a sign of life, in seconds since 1970 by its own clock.
    """

    token: str
    host: str
    process: str
    pid: int
    renewed: float

    @classmethod
    def this_process(cls) -> Self:
        """Return a new owner that lives as long as this process."""
        pid = os.getpid()
        return cls(uuid4().hex, socket.gethostname(), identity_of(pid) or "", pid, time.time())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def has_died(self) -> bool | None:
        """Return whether its process has ended; None where that cannot be seen from here."""
        mine = identity_of(os.getpid())
        if not (mine and self.process) or self.host != socket.gethostname():
            return None
        if self.process.split()[:2] != mine.split()[:2]:
            return None  # another machine of that name, or another container
        return identity_of(self.pid) != self.process


class Leases:
    """The leases of one owner, renewed in a thread from ``with`` on until its end.

    Args:
        objects: where leases are.
        lapses_after: seconds without a sign of life after which an owner's leases are taken over.
    """

    def __init__(self, objects: Objects, lapses_after: float = LAPSES_AFTER) -> None:
        self._objects, self._lapses_after = objects, lapses_after
        self.owner = Owner.this_process()
        self._held: dict[str, int] = {}
        """the generation of each lease by its key"""
        self._seen: dict[str, tuple[Owner | None, float]] = {}
        """by token, another owner's last sign of life, and when it was first seen here"""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    def __enter__(self) -> Self:
        self._write_owner()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StoreError):  # they lapse by themselves
            self.release(list(self._held))
            self._objects.delete(_owner(self.owner.token))

    def take(self, keys: Collection[str]) -> Mapping[str, Owner]:
        """Take the leases that can be had; return by key the owners of the others.

        Raises:
            StoreError: leases cannot be read or written.
        """
        taken = in_parallel(self._take, keys)
        return {key: holder for key, holder in taken if holder is not None}

    def release(self, keys: Iterable[str]) -> None:
        """Give leases back. Those that are not held are left alone.

        Raises:
            StoreError: leases cannot be written.
        """
        in_parallel(self._release, [key for key in keys if key in self._held])

    def _take(self, key: str) -> Owner | None:
        """Take a lease and return None, or return its owner."""
        if key in self._held:
            return None
        mine, holds = self.owner.token, None
        if not self._objects.put_new(_lease(key, 0), mine.encode()):
            holds = self._highest(key)
            token = None if holds is None else self._token(key, holds)
            if token not in (None, mine) and (owner := self._alive(token)):
                return owner
            if token != mine:
                generation = 0 if holds is None else holds + 1
                self._objects.put_new(_lease(key, generation), mine.encode())
        # Who has the lease is read: an answer may have been lost though the object was written, an
        # endpoint may ignore conditions, and leases may have been released and begun anew.
        holds = self._highest(key)
        token = None if holds is None else self._token(key, holds)
        if holds is not None and token == mine:
            self._held[key] = holds
            return None
        return (token and self._alive(token)) or _unknown(token or "")

    def _release(self, key: str) -> None:
        last = self._held.pop(key)
        for generation in range(last, -1, -1):
            self._objects.delete(_lease(key, generation))

    def _highest(self, key: str) -> int | None:
        generations = (name.rpartition("/")[2] for name in self._objects.names(_leases(key)))
        return max((int(each) for each in generations if each.isdecimal()), default=None)

    def _token(self, key: str, generation: int) -> str | None:
        try:
            return self._objects.get(_lease(key, generation)).decode("utf-8", "replace")
        except KeyError:
            return None

    def _alive(self, token: str) -> Owner | None:
        """Return the owner, unless it has died, or lapsed."""
        owner = self._read_owner(token)
        if owner is not None and owner.has_died is not None:
            return None if owner.has_died else owner
        last, since = self._seen.get(token, (None, 0.0))
        now = time.monotonic()
        if token not in self._seen or owner != last:
            # Clocks of two machines differ, so what counts is how long it stays as it is.
            self._seen[token] = (owner, now)
        elif now - since > self._lapses_after:
            return None
        return owner or _unknown(token)

    def _read_owner(self, token: str) -> Owner | None:
        try:
            return Owner(**json.loads(self._objects.get(_owner(token))))
        except (KeyError, ValueError, TypeError):
            return None

    def _renew(self) -> None:
        while not self._ended.wait(min(_RENEWED_EVERY, self._lapses_after / 4)):
            # If it fails, once more in a moment; if it stays so, others take over.
            with contextlib.suppress(StoreError):
                self._write_owner()

    def _write_owner(self) -> None:
        owner = {**asdict(self.owner), "renewed": time.time()}
        self._objects.put(_owner(self.owner.token), json.dumps(owner).encode())


def _unknown(token: str) -> Owner:
    return Owner(token, "another machine", "", 0, 0.0)


def _leases(key: str) -> str:
    return f"leases/{key[:2]}/{key}/"


def _lease(key: str, generation: int) -> str:
    return f"{_leases(key)}{generation}"


def _owner(token: str) -> str:
    return f"owners/{token}"
