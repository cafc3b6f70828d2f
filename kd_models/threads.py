"""Work in several threads of one process, for what waits or leaves Python alone."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")

_TOLD_EVERY = 10.0
"""seconds"""


def in_threads(work: Callable[[A], R], items: Iterable[A], most: int) -> Iterator[R]:
    """Yield what ``work`` returns for each item, in their order.

    An error ends it: what has not begun by then is not done.

    Args:
        work: does one item.
        items: all of them are read at once.
        most: threads.
    """
    every = list(items)
    if min(most, len(every)) < 2:
        yield from map(work, every)
        return
    pool = ThreadPoolExecutor(min(most, len(every)))
    try:
        yield from pool.map(work, every)
    finally:
        pool.shutdown(cancel_futures=True)


class MemoryLimit:
    """Lets threads go on as long as what they hold together is within a limit.

    Args:
        most: bytes; what needs more than that goes on alone.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Wait until there is room for so many bytes, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + size <= self._most)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


def cores() -> int:
    """Return how many cores this process may use, as far as it is worth to use them for files."""
    known = hasattr(os, "sched_getaffinity")
    return min(_MOST, len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1)


_MOST = 16


def told(results: Iterable[R], total: int, what: str, tell: Callable[[str], None]) -> Iterator[R]:
    """Yield results as they come, and tell now and then how many there were.

    Args:
        results: of something that may take minutes.
        total: how many there will be.
        what: is done, such as "reading images of x".
        tell: takes a line; not called where all is over in seconds.
    """
    last = time.monotonic()
    for number, result in enumerate(results, start=1):
        if time.monotonic() - last > _TOLD_EVERY:
            last = time.monotonic()
            tell(f"{what}: {number:,} of {total:,}")
        yield result
