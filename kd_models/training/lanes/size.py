"""How many trainings of one shape go fastest together."""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from kd_models.methods.draws import epoch_draws
from kd_models.recipe import Recipe
from kd_models.training.epochs import Training, batches_per_epoch, stacked
from kd_models.training.lanes.lanes import Lanes
from kd_models.training.lanes.stacking import gather
from kd_models.world import World

_FASTER, _GROWTH = 1.05, 4
_ROUNDS = 3
_WORTH_MEASURING = 100
"""steps: measuring takes some ten"""
_BUSY = 0.1
"""seconds of a step"""


def fastest_size(
    make: Callable[[int], Sequence[Training]],
    most: int,
    recipe: Recipe,
    world: World,
    steps: int,
) -> int:
    """Return how many trainings of one shape go fastest together, by trying a few steps of each.

    Ever more are tried, until that is no longer faster or would not fit into memory. Two sizes are
    compared by turns, each by the best of several rounds, so that whatever else is at work on the
    machine slows both alike. Where there are too few steps for that, all go together, unless one
    alone keeps the processor busy.

    Args:
        make: returns so many of them, which may be spoilt.
        most: how many there are.
        recipe: of all of them.
        world: the processes that train them.
        steps: of one training, from its first epoch to its last.
    """
    if most == 1:
        return 1
    best = _Tried(make(1), recipe, world)
    if steps < _WORTH_MEASURING:
        return 1 if _compare([best], world)[0] > _BUSY else most
    while best.size < most:
        size = min(best.size * _GROWTH, most)
        if any(room < size for room in world.gather(best.room)):
            break
        larger = _Tried(make(size), recipe, world)
        seconds = _compare([best, larger], world)
        rates = [tried.size / s for tried, s in zip((best, larger), seconds, strict=True)]
        if rates[1] < rates[0] * _FASTER:
            break
        best = larger
    return best.size


class _Tried:
    """Some lanes of which steps are tried.

    Attributes:
        size: how many they are.
        room: how many lanes like these there is memory for; half of what is free is left to others.
    """

    def __init__(self, trainings: Sequence[Training], recipe: Recipe, world: World) -> None:
        self.size = len(trainings)
        self._trainings, self._recipe, self._device = trainings, recipe, world.device
        batch, _ = batches_per_epoch(len(trainings[0].data["x"]), recipe.batch_size, world.size)
        self._rows = torch.arange(batch // world.size, device=world.device)
        self._draws = epoch_draws(trainings[0].learner.draws(), batch // world.size, 0, 0)
        before, free = _own_memory(world.device), _free_memory(world.device)
        self._lanes: Lanes | None = None
        try:
            learners = [training.learner for training in trainings]
            self._lanes = Lanes(learners, recipe.betas, World(device=world.device))
            self._lanes.train()
            self.step()  # the first is slower
            used = max(_own_memory(world.device) - before, 1)
            self.room = self.size * free / 2 / used
        except torch.OutOfMemoryError:
            self._lanes, self.room = None, 0.0

    def step(self) -> float:
        """Run one training step; return its seconds, infinite where memory does not hold it."""
        if self._lanes is None:
            return math.inf
        began = time.perf_counter()
        batch = gather([t.data for t in self._trainings], [self._rows] * self.size)
        batch |= stacked([next(self._draws)] * self.size, World(device=self._device))
        self._lanes.train_step(batch, [self._recipe.lr] * self.size)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - began


def _compare(tried: Sequence[_Tried], world: World) -> list[float]:
    """Return the seconds of a step of each: the best of several rounds, in the slowest process."""
    taken = [[each.step() for each in tried] for _ in range(_ROUNDS)]
    best = [min(each) for each in zip(*taken, strict=True)]
    return [max(each) for each in zip(*world.gather(best), strict=True)]


def _own_memory(device: torch.device) -> int:
    """Return the bytes of memory that this process has, whatever others take meanwhile."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def _free_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free: of the GPU, or of this machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
