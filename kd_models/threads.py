"""Work in several threads of one process, for what waits or leaves Python alone."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
