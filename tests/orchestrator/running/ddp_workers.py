"""What one process and each of two make of a pack in which something is wrong in one of them.

test_pack_in_two_processes.py says what is right.
"""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from contexts import context_in
from two_processes import run

from kd_models.data import load
from kd_models.methods.base import CannotTrain
from kd_models.methods.pkdgan.step import GanLearner
from kd_models.world import World
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import DatasetFacts, make_plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.running.pack import run_pack
from orchestrator.store import open_store
from orchestrator.store.stages import Store

Measured = dict[str, Any]

DIGITS = load("digits", Path())


class Session:
    """Keeps nothing."""

    @contextmanager
    def checkpoint(self) -> Any:
        yield None

    def save(self, write: Callable[[Path], None] | None) -> None:
        pass

    def report(self, stage: Stage, rows: Any) -> None:
        pass

    def say(self, line: str) -> None:
        pass


def pack_of() -> Pack:
    """Three stages of one shape."""
    tiny = (1, 2, 4)
    spec = SweepSpec.model_validate(
        {
            "name": "tiny",
            "datasets": ["digits"],
            "baselines": [],
            "scores": ["paper"],
            "normal_classes": [0],
            "structures": ["alone"],
            "student_widths": [tiny],
            "teacher": {"widths": tiny},
            "training": {"epochs": 2, "batch_size": 32},
            "seeds": [0, 1, 2],
        }
    )
    plan = make_plan(spec, {"digits": DatasetFacts(DIGITS.row, DIGITS.fingerprint)})
    return Pack.of(list(plan.stages.values()))


def trained(pack: Pack, world: World, store: Store, lanes: int = 3) -> Measured:
    failures = run_pack(
        pack,
        context_in(store, DIGITS, lanes=lanes),
        world,
        Session(),
    )
    world.gather(None)  # process 0 stores last
    return {"failures": failures, "stored": [store.has(stage.key) for stage in pack.stages]}


def refused(world: World, store: Store, hook: str, lanes: int) -> Measured:
    """The last process cannot ``prepare`` or ``calibrate`` the learner that it makes second."""
    calls: list[GanLearner] = []

    def refuse(self: GanLearner, images: Any, world: World) -> None:
        if self not in calls:
            calls.append(self)
        if calls.index(self) == 1 and world.rank == world.size - 1:
            raise CannotTrain("the covariance has no inverse")

    with patch.object(GanLearner, hook, refuse):
        return trained(pack_of(), world, store, lanes)


def seen_by_one_alone(world: World, folder: Path) -> Measured:
    """Each process has a store of its own; the last one's has the first stage already."""
    pack = pack_of()
    store = open_store(str(folder / f"own{world.rank}"))
    if world.rank == world.size - 1:
        trained(Pack.of(pack.stages[:1]), World(), store)
    return trained(pack, world, store)


def measure(world: World, folder: Path) -> Measured:
    found = {
        f"{hook}/{lanes}": refused(world, open_store(str(folder / f"{hook}{lanes}")), hook, lanes)
        for hook in ("prepare", "calibrate")
        for lanes in (1, 3)
    }
    return {**found, "seen by one alone": seen_by_one_alone(world, folder)}


if __name__ == "__main__":
    run(measure)
