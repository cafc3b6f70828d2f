"""A machine: what it says of itself, and whether a sweep can run with it."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from orchestrator.doctor.findings import Finding, Look
from orchestrator.doctor.places import clock_finding, look_at_places, look_for_words
from orchestrator.planning.storage import StorageSpec

_PACKAGES = (
    *("torch", "torchvision", "ray", "mlflow", "numpy", "scipy", "scikit-learn", "pydantic"),
    *("pillow", "safetensors", "boto3"),
)
"""whose objects travel between machines, or whose numbers end up in results"""
_SHARED_MEMORY = Path("/dev/shm")
_SECONDS_APART = 60
"""of two machines' clocks, beyond which logs are hard to read and something is wrong"""


@dataclass(frozen=True)
class Machine:
    """What a machine says of itself.

    Attributes:
        python: its version.
        packages: the versions of those that matter, by name; empty where one is missing.
        time: its clock, in seconds since 1970.
        gpus: the names of those that PyTorch sees.
        shared_memory: its bytes; None where there is no such thing.
        free_disk: bytes where Ray spills to and packs are trained.
        findings: of its own look at the places of results.
    """

    python: str
    packages: Mapping[str, str]
    time: float
    gpus: tuple[str, ...]
    shared_memory: int | None
    free_disk: int
    findings: tuple[Finding, ...] = ()


def describe() -> Machine:
    """Return what there is to say of this machine."""
    import torch

    return Machine(
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        time=time.time(),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        shared_memory=_shared_memory(),
        free_disk=shutil.disk_usage(tempfile.gettempdir()).free,
    )


@dataclass(frozen=True)
class Question:
    """What every machine of a cluster is asked.

    Attributes:
        storage: the sweep's.
        words: left in its places, as :class:`~orchestrator.doctor.places.LeftWords` returns them.
    """

    storage: StorageSpec
    words: Mapping[str, tuple[str, bytes]]

    def __call__(self, name: str) -> Machine:
        """Return this machine's answer; ``name`` is its name."""
        findings = look_for_words(self.storage, self.words, name)
        if not any(finding.level == "fault" for finding in findings):
            findings += look_at_places(self.storage, name, large=False)
        return replace(describe(), findings=tuple(findings))


@dataclass(frozen=True)
class Needs:
    """What a sweep needs of a machine that trains.

    Attributes:
        gpus: whether its workers train on GPUs.
        data: bytes of its datasets.
    """

    gpus: bool
    data: int


def compare(
    name: str,
    machine: Machine,
    here: Machine,
    resources: Mapping[str, float],
    needs: Needs,
    seconds_ahead: float,
) -> Iterator[Finding]:
    """Yield what is found of a machine.

    Args:
        name: its name.
        machine: what it says of itself.
        here: the same of the machine that runs the sweep.
        resources: what the cluster believes it has.
        needs: of the sweep.
        seconds_ahead: of its clock to that of the machine that runs the sweep.
    """
    yield from machine.findings
    yield from _versions(Look("versions", name), machine, here)
    yield clock_finding(
        Look("clock", name),
        seconds_ahead,
        "that of the machine that runs the sweep",
        _SECONDS_APART,
    )
    if needs.gpus:
        yield from _gpus(Look("gpus", name), machine, int(resources.get("GPU", 0)))
    yield from _room(Look("memory", name), machine, resources, needs.data)


def _versions(look: Look, machine: Machine, here: Machine) -> Iterator[Finding]:
    differing = [
        f"{name} {version or 'is missing'} (here {here.packages[name]})"
        for name, version in machine.packages.items()
        if _public(version) != _public(here.packages[name])
    ]
    if machine.python != here.python:
        differing.insert(0, f"Python {machine.python} (here {here.python})")
    if differing:
        yield look.fault(
            ", ".join(differing),
            "install what requirements.txt pins on every machine, with the same Python",
        )
    else:
        yield look.ok(f"Python {machine.python}, and {len(machine.packages)} packages as here")


def _gpus(look: Look, machine: Machine, declared: int) -> Iterator[Finding]:
    if declared > len(machine.gpus):
        yield look.fault(
            f"Ray gives away {declared} GPUs here, and PyTorch sees {len(machine.gpus)}",
            "install the NVIDIA driver and a PyTorch built for CUDA there, or start its node with "
            "the --num-gpus there are",
        )
    elif declared:
        yield look.ok(f"{declared} ({', '.join(sorted(set(machine.gpus)))})")


def _room(
    look: Look, machine: Machine, resources: Mapping[str, float], data: int
) -> Iterator[Finding]:
    objects = int(resources.get("object_store_memory", 0))
    if objects > (machine.shared_memory or objects):
        yield look.warning(
            f"Ray's object store has {_mb(objects)}, and /dev/shm "
            f"{_mb(machine.shared_memory or 0)}: it goes to the disk, which is slow",
            "give the machine more shared memory (--shm-size of a container), or Ray less "
            "(--object-store-memory)",
        )
    if 2 * data > objects:
        yield look.warning(
            f"the datasets take {_mb(data)} of the {_mb(objects)} of Ray's object store: some goes "
            "to the disk and back",
            "give Ray more (--object-store-memory)",
        )
    if machine.free_disk < data + _SPARE_DISK:
        yield look.fault(
            f"{_mb(machine.free_disk)} are free on its disk",
            f"free {_mb(data + _SPARE_DISK)}: Ray stops at a full disk",
        )
    else:
        yield look.ok(f"{_mb(objects)} for objects, {_mb(machine.free_disk)} free on its disk")


_SPARE_DISK = 1 << 30


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _public(version: str) -> str:
    """Return a version without what it was built for: 2.15.0+cpu is 2.15.0."""
    return version.partition("+")[0]


def _shared_memory() -> int | None:
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    return found.f_frsize * found.f_blocks
