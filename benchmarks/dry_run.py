"""(f) ``--dry-run`` of 100,000 candidates: seconds and memory."""

import resource

from benchmarks.harness import Timing, by_turns, emit, in_a_process, run_sweep

CANDIDATES = 100_000

SPEC = {
    "name": "large",
    "datasets": ["digits"],
    "structures": ["kdgan-1", "kdgan-2", "kdgan-3", "kdgan-4", "p-kdgan-23", "p-kdgan-24"],
    "loss_weights": [{"k1": k1 / 10} for k1 in range(167)],
    "seeds": list(range(10)),
}


def plan() -> float:
    """Return the seconds of the dry run."""
    taken, answer = run_sweep(SPEC, "--dry-run")
    assert answer["candidates"] >= CANDIDATES
    return taken


def peak() -> float:
    """MiB that the planning process held at most."""
    plan()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Measure time and memory."""
    found = by_turns({"dry_run": plan})
    mib, _ = in_a_process(peak)
    seconds = found["dry_run"]
    emit("dry run", "s", {"dry_run": Timing(seconds.value, seconds.spread, mib)})


if __name__ == "__main__":
    main()
