"""How long an exported model takes and how much memory, measured in a process of its own.

``python -m kd_score.measure MODEL CHANNELS SIZE`` prints a line of JSON.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kd_score.detector import INPUT, session

BATCHES = (1, 32)
_RUNS, _SECONDS, _FEWEST = 300, 0.2, 5
"""a latency is of this many runs, or of as many as fit in this many seconds, but of some"""


def measure(model: bytes, channels: int, image_size: int) -> dict[str, float]:
    """Return a model's latencies in microseconds by name, and its process's memory in bytes.

    ``latency_us`` is the median of one image on one thread. ``_batch32`` is of 32 images at once,
    ``_all_cores`` on as many threads as there are cores, ``_p95`` the 95th percentile. Of one
    thread the time is counted that it ran, so that other work on the machine does not matter; of
    all cores the time that passed. ``peak_memory_bytes`` is the most that a process took that
    scores one image on one thread, with Python and ONNX Runtime.
    """
    found: dict[str, float] = {}
    for cores in (1, None):
        running = session(model, cores)
        for batch in BATCHES:
            images = np.zeros((batch, channels, image_size, image_size), np.float32)

            def once(running: Any = running, images: Any = images) -> None:
                running.run(None, {INPUT: images})

            name = "latency_us" + f"_batch{batch}" * (batch > 1) + "_all_cores" * (cores is None)
            times = _times(once, time.thread_time if cores else time.perf_counter)
            found[name] = 1e6 * statistics.median(times)
            found[f"{name}_p95"] = 1e6 * float(np.percentile(times, 95))
            found.setdefault("peak_memory_bytes", _peak_memory())
    return found


def _times(once: Callable[[], None], clock: Callable[[], float]) -> list[float]:
    """Return the seconds that runs took, the first of which prepares the others."""
    once()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _FEWEST or (len(times) < _RUNS and time.perf_counter() - began < _SECONDS):
        start = clock()
        once()
        times.append(clock() - start)
    return times


def _peak_memory() -> int:
    try:
        # Not the other one: that is of the process too that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    path, *shape = sys.argv[1:]
    sys.stdout.write(json.dumps(measure(Path(path).read_bytes(), *map(int, shape))) + "\n")
