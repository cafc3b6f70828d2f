"""What is found of a machine, from what it says of itself."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor.findings import Finding
from orchestrator.doctor.machine import Machine, Needs, compare, describe

HERE = Machine(
    python="3.11.7",
    packages={"torch": "2.15.0", "ray": "2.60.0"},
    time=1000.0,
    gpus=("NVIDIA H100",),
    shared_memory=8 << 30,
    memory=32 << 30,
    free_disk=100 << 30,
)
RESOURCES = {"CPU": 4.0, "GPU": 1.0, "object_store_memory": float(4 << 30)}


def found(
    machine: Machine = HERE,
    resources: Mapping[str, float] = RESOURCES,
    data: int = 1000,
    ahead: float = 0.0,
) -> list[Finding]:
    needs = Needs(gpus=True, data=data)
    every = compare("node", machine, HERE, resources, needs, ahead)
    return [finding for finding in every if finding.level != "ok"]


def test_a_machine_like_this_one_is_well() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"python": "3.12.1"}, "Python 3.12.1 (here 3.11.7)", "requirements.txt"),
        (
            {"packages": {"torch": "2.14.1", "ray": "2.60.0"}},
            "torch 2.14.1 (here 2.15.0)",
            "requirements.txt",
        ),
        ({"packages": {"torch": "", "ray": "2.60.0"}}, "torch is missing", "requirements.txt"),
        ({"gpus": ()}, "Ray gives away 1 GPUs here, and PyTorch sees 0", "NVIDIA driver"),
        ({"free_disk": 10 << 20}, "10 MB are free", "free 1,074 MB"),
    ],
)
def test_what_a_sweep_would_fail_of(changes: dict[str, Any], what: str, fix: str) -> None:
    (finding,) = found(replace(HERE, **changes))
    assert (finding.level, finding.where) == ("fault", "node")
    assert what in finding.what
    assert fix in finding.fix


def test_what_a_build_was_made_for_is_no_difference() -> None:
    packages = {"torch": "2.15.0+cpu", "ray": "2.60.0"}
    assert found(replace(HERE, packages=packages)) == []


def test_less_shared_memory_than_ray_believes_is_a_warning() -> None:
    (finding,) = found(replace(HERE, shared_memory=64 << 20))
    assert (finding.check, finding.level) == ("memory", "warning")
    assert "--shm-size" in finding.fix


def test_data_that_fill_the_object_store_are_a_warning() -> None:
    (finding,) = found(data=3 << 30)
    assert finding.level == "warning"
    assert "--object-store-memory" in finding.fix


@pytest.mark.parametrize(("ahead", "direction"), [(61.0, "ahead of"), (-3600.0, "behind")])
def test_a_clock_that_is_off(ahead: float, direction: str) -> None:
    (finding,) = found(ahead=ahead)
    assert (finding.check, finding.level) == ("clock", "warning")
    assert direction in finding.what


def test_a_machine_that_is_too_small_for_the_data_is_a_warning() -> None:
    finding, *_ = found(replace(HERE, memory=2 << 30), data=3 << 30)
    assert finding.level == "warning"
    assert "takes about 4,295 MB" in finding.what


def test_this_machine_has_every_package(tmp_path: Path) -> None:
    machine = describe(tmp_path)
    assert all(machine.packages.values())
    assert machine.free_disk > 0
