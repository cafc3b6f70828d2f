"""Which process a number means: numbers are used again."""

import os
from pathlib import Path


def identity_of(pid: int) -> str | None:
    """Return what a process of this machine is known by; None where it has ended, or no Linux.

    It is the machine's boot, the namespace, the number and the start, in this order, apart by
    spaces.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else f"{boot} {namespace} {pid} {fields[18]}"
