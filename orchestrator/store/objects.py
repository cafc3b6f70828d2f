"""What a place for named bytes does, be it a folder or a bucket."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from kd_models.threads import in_threads
from orchestrator.errors import UserError
from orchestrator.s3_client import AT_ONCE

T = TypeVar("T")


class StoreError(UserError):
    """A place cannot be used."""


class Objects(Protocol):
    """Named bytes, seen alike by every process that can reach the place.

    Names are relative paths with slashes. Each call may raise :class:`StoreError`.
    """

    @property
    def uri(self) -> str:
        """Return where it is, for people."""

    def check_writable(self) -> None:
        """Check that bytes can be written and read.

        Raises:
            StoreError: they cannot; the message says where, why and what to do.
        """

    def put(self, name: str, data: bytes) -> None:
        """Write, or replace what is there: whole or not at all."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write whole, unless there is something already; return whether it was written.

        Of several writers one writes. A bucket whose endpoint ignores conditions may let several.
        """

    def has_conditions(self) -> bool:
        """Return whether :meth:`put_new` lets one of several writers write, and no more.

        It is tried out, with a name of its own.
        """

    def get(self, name: str) -> bytes:
        """Return what is there.

        Raises:
            KeyError: nothing is.
        """

    def existing(self, names: Iterable[str]) -> frozenset[str]:
        """Return which of the names are there. Many are not asked for one by one."""

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names there are in the folder ``prefix``, which ends in a slash, and below."""

    def delete(self, name: str) -> None:
        """Remove what is there, if anything is."""


def in_parallel(ask: Callable[[str], T], names: Iterable[str]) -> list[tuple[str, T]]:
    """Return each name with what ``ask`` returns for it, asked several at a time."""
    every = list(names)
    return list(zip(every, in_threads(ask, every, AT_ONCE), strict=True))
