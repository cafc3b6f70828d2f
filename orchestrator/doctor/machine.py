"""A machine: what it says of itself, and whether a sweep can run with it."""

import os
import platform
import shutil
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


@dataclass(frozen=True)
class Machine:
    """What a machine says of itself.

    Attributes:
        python: its version.
        packages: the versions of those that matter, by name; empty where one is missing.
        time: its clock, in seconds since 1970.
        gpus: the names of those that PyTorch sees.
        shared_memory: its bytes; None where there is no such thing.
        memory: its bytes.
        free_disk: bytes where Ray spills to.
        findings: of its own look at the places of results.
    """

    python: str
    packages: Mapping[str, str]
    time: float
    gpus: tuple[str, ...]
    shared_memory: int | None
    memory: int
    free_disk: int
    findings: tuple[Finding, ...] = ()


def describe(scratch: Path) -> Machine:
    """Return what there is to say of this machine; ``scratch`` is where Ray spills to."""
    import torch

    return Machine(
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        time=time.time(),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        shared_memory=_shared_memory(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        free_disk=shutil.disk_usage(scratch).free,
    )


@dataclass(frozen=True)
class Question:
    """What every machine of a cluster is asked.

    Attributes:
        storage: the sweep's, with whole paths: they mean the same everywhere.
        words: left in its places, as :class:`~orchestrator.doctor.places.LeftWords` returns them;
            none where they cannot be left.
    """

    storage: StorageSpec
    words: Mapping[str, tuple[str, bytes]]

    def __call__(self, name: str, scratch: Path) -> Machine:
        """Return this machine's answer.

        Args:
            name: its name.
            scratch: the folder that Ray spills to there.
        """
        findings = look_for_words(self.storage, self.words, name)
        if not any(finding.level == "fault" for finding in findings):
            findings += look_at_places(self.storage, name, large=False)
        return replace(describe(scratch), findings=tuple(findings))


@dataclass(frozen=True)
class Needs:
    """What a sweep needs of a machine that trains.

    Attributes:
        gpus: whether its workers train on GPUs.
        data: bytes of its datasets.
    """

    gpus: bool
    data: int

    @property
    def memory(self) -> int:
        """Return bytes that a process needs beside Ray: the data, converted, and PyTorch."""
        return self.data + _SPARE


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
        Look("clock", name), seconds_ahead, "that of the machine that runs the sweep"
    )
    if needs.gpus:
        yield from _gpus(Look("gpus", name), machine, int(resources.get("GPU", 0)))
    yield from _room(Look("memory", name), machine, resources, needs)


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
    look: Look, machine: Machine, resources: Mapping[str, float], needs: Needs
) -> Iterator[Finding]:
    if machine.memory < needs.memory:
        yield look.warning(
            f"it has {_mb(machine.memory)} of memory, and a process that trains takes about "
            f"{_mb(needs.memory)}",
            "use a machine with more, or smaller images",
        )
    objects = int(resources.get("object_store_memory", 0))
    if objects > (machine.shared_memory or objects):
        yield look.warning(
            f"Ray's object store has {_mb(objects)}, and /dev/shm "
            f"{_mb(machine.shared_memory or 0)}: it goes to the disk, which is slow",
            "give the machine more shared memory (--shm-size of a container), or Ray less "
            "(--object-store-memory)",
        )
    if objects and 2 * needs.data > objects:
        yield look.warning(
            f"the datasets take {_mb(needs.data)} of the {_mb(objects)} of Ray's object store: "
            "some goes to the disk and back",
            "give Ray more (--object-store-memory)",
        )
    if machine.free_disk < needs.data + _SPARE:
        yield look.fault(
            f"{_mb(machine.free_disk)} are free on its disk",
            f"free {_mb(needs.data + _SPARE)}: Ray stops at a full disk",
        )
    else:
        yield look.ok(
            f"{_mb(machine.memory)} of memory, {_mb(objects)} of it for Ray's objects, "
            f"{_mb(machine.free_disk)} free on its disk"
        )


_SPARE = 1 << 30


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
