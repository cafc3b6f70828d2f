"""How this process gets its memory from the system."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for what it allocates next.

    Every training step frees and allocates the same tensors. glibc hands larger ones back to the
    system, which then clears every page anew: a fifth of the time of a step of 32 small students
    (docs/lab-notes.md). Elsewhere than on Linux with glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 << 20)
