"""(g) Weak scaling: 16 students of 1-2-4 in one pack over 1 and 2 DDP workers of one thread each.

The batch grows with the workers, 64 images for each.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from benchmarks.harness import by_turns, digits, emit, epoch_seconds
from kd_models.methods.base import PackContext
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.networks import WIDE, Widths
from kd_models.methods.pkdgan.objectives import GanWeights
from kd_models.methods.pkdgan.step import StepConfig
from kd_models.recipe import Recipe
from kd_models.training.epochs import Training, learner_on, on_device
from kd_models.training.malloc import keep_freed_memory
from kd_models.world import World

BATCH, LANES = 64, 16


def rate(workers: int, structure: str, widths: Widths, lanes: int) -> float:
    """Images a second over all lanes and workers."""
    if workers == 1:
        return _worker(0, 1, "", structure, widths, lanes)
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, (workers, f"file://{folder}/meet", structure, widths, lanes, folder), workers)
        return float((Path(folder) / "rate").read_text(encoding="utf-8"))


def _rank(
    rank: int, workers: int, meet: str, structure: str, widths: Widths, lanes: int, folder: str
) -> None:
    found = _worker(rank, workers, meet, structure, widths, lanes)
    if rank == 0:
        (Path(folder) / "rate").write_text(str(found), encoding="utf-8")


def _worker(
    rank: int, workers: int, meet: str, structure: str, widths: Widths, lanes: int
) -> float:
    keep_freed_memory()
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=workers)
    network = NetworkConfig(channels=1, widths=widths)
    config = (
        StepConfig(structure="teacher", teacher=network, teacher_weights=GanWeights())
        if structure == "teacher"
        else StepConfig(structure="alone", student=network, student_weights=GanWeights())
    )
    world = World(rank, workers)
    x = on_device(digits(1), world)
    trainings = [
        Training(learner_on(config.learner(seed, PackContext()), world), {"x": x}, seed)
        for seed in range(lanes)
    ]
    batch = BATCH * workers
    seconds = epoch_seconds(trainings, Recipe(epochs=4, batch_size=batch), world)
    return lanes * (len(x) // batch * batch) / seconds


def main() -> None:
    """Measure students and teachers with one and two workers."""
    cases = (
        ("student", "alone", (1, 2, 4), LANES),
        ("teacher", "teacher", WIDE, 1),
    )
    for name, structure, widths, lanes in cases:
        sides = {f"workers_{n}": partial(rate, n, structure, widths, lanes) for n in (1, 2)}
        found = by_turns(sides)
        efficiency = found["workers_2"].value / found["workers_1"].value / 2
        emit(f"weak scaling {name}", "images/s", found, efficiency=round(efficiency, 3))


if __name__ == "__main__":
    main()
