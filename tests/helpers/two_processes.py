"""What a script does that runs as one of two processes that train together.

A script rather than functions for ``torch.multiprocessing.spawn``: pytest imports test modules
under names (--import-mode=importlib) that a spawned process cannot import.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from kd_models.world import World


def run(measure: Callable[[World, Path], dict[str, Any]]) -> None:
    """``python SCRIPT RANK SIZE FOLDER``: write what each process measures to FOLDER.

    Rank 0 measures the same alone as well, before it joins.
    """
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    if rank == 0:
        alone = folder / "alone"
        alone.mkdir()
        torch.save(measure(World(), alone), folder / "alone.pt")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=120),
    )
    torch.save(measure(World(rank, size), folder), folder / f"rank{rank}.pt")
    dist.destroy_process_group()
