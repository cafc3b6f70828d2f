"""(f) ``--dry-run`` of 100,000 candidates, of one dataset and of three: seconds and memory."""

import resource
from functools import partial
from typing import Any

from benchmarks.harness import Timing, by_turns, emit, in_a_process, run_sweep

CANDIDATES = 100_000

STRUCTURES = ["kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4", "p-kdgan-23", "p-kdgan-24"]

ONE = {
    "name": "large",
    "datasets": ["digits"],
    "structures": STRUCTURES,
    "loss_weights": [{"k1": k1 / 10} for k1 in range(167)],
    "seeds": list(range(10)),
}
THREE = {
    **ONE,
    "datasets": ["digits", "mnist", "fmnist"],
    "loss_weights": [{"k1": k1 / 10} for k1 in range(56)],
}


def plan(spec: dict[str, Any]) -> float:
    """Return the seconds of the dry run."""
    taken, answer = run_sweep(spec, "--dry-run")
    assert answer["candidates"] >= CANDIDATES
    return taken


def peak(spec: dict[str, Any]) -> float:
    """MiB that the planning process held at most."""
    plan(spec)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Measure time and memory."""
    specs = {"one dataset": ONE, "three datasets": THREE}
    seconds = by_turns({name: partial(plan, spec) for name, spec in specs.items()})
    emit(
        "dry run",
        "s",
        {
            name: Timing(
                seconds[name].value, seconds[name].spread, in_a_process(partial(peak, spec))[0]
            )
            for name, spec in specs.items()
        },
    )


if __name__ == "__main__":
    main()
