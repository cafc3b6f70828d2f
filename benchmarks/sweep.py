"""(d) Sixty candidates, ten digits by six structures: as planned, and each from its own teacher.

As planned, one sweep shares every stage and packs those of one shape. Alone, each candidate is a
sweep of its own with a store of its own, one after another. Both train for ten epochs, one worker
with all cores and one trial at a time, and keep everything: store, MLflow runs, tables. Sixty
sweeps take most of an hour: by default six are run, one of each structure, and count ten times;
``python -m benchmarks.sweep 10`` runs them for all ten digits.
"""

import os
import sys
from typing import Any

from benchmarks.harness import Timing, emit, run_sweep

DIGITS = 10
STRUCTURES = ("kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4", "p-kdgan-23", "p-kdgan-24")


def sweep(classes: list[int], structures: list[str], epochs: int = 10) -> float:
    """Return the seconds of a whole sweep in an empty home."""
    spec: dict[str, Any] = {
        "name": "sixty",
        "datasets": ["digits"],
        "normal_classes": classes,
        "structures": structures,
        "training": {"epochs": epochs, "batch_size": 64},
        "evaluation": {"every": epochs},
        "resources": {"workers": 1, "cpus_per_worker": os.cpu_count()},
    }
    taken, answer = run_sweep(spec)
    rows = answer["candidates"]
    assert len(rows) == len(classes) * len(structures)
    assert all(row["status"] == "finished" for row in rows)
    return taken


def main() -> None:
    """Compare the planned sweep with sixty of one candidate each."""
    sample = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    planned = sweep(list(range(DIGITS)), list(STRUCTURES))
    alone = sum(sweep([digit], [name]) for digit in range(sample) for name in STRUCTURES)
    whole = alone * DIGITS / sample
    emit(
        "sixty candidates",
        "s",
        {"planned": Timing(planned, 0, 0), "alone": Timing(whole, 0, 0)},
        sweeps_run_alone=sample * len(STRUCTURES),
        ratio=round(whole / planned, 2),
    )


if __name__ == "__main__":
    main()
