"""Which room may import which: those above it in this list, as docs/architecture.md says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kd_models
import kd_score
import orchestrator

PACKAGES = (kd_score, kd_models, orchestrator)
ROOMS = [
    "kd_score.errors",
    "kd_score.names",
    "kd_score.image_paths",
    "kd_score.read_image",
    "kd_score.prepare",
    "kd_score.detector",
    "kd_score.measure",
    "kd_score.command",
    "kd_models.threads",
    "kd_models.values",
    "kd_models.world",
    "kd_models.recipe",
    "kd_models.data",
    "kd_models.evaluation",
    "kd_models.methods",
    "kd_models.training",
    "kd_models.package",
    "kd_models.export",
    "orchestrator.errors",
    "orchestrator.console",
    "orchestrator.s3_client",
    "orchestrator.process_identity",
    "orchestrator.planning",
    "orchestrator.store",
    "orchestrator.running",
    "orchestrator.executors",
    "orchestrator.reporting",
    "orchestrator.packaging",
    "orchestrator.choosing",
    "orchestrator.exporting",
    "orchestrator.tracking",
    "orchestrator.sweep_listener",
    "orchestrator.doctor",
    "orchestrator.sweep",
    "orchestrator.cli",
]


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_rooms_import_only_those_above_them() -> None:
    seen = set()
    names = [package.__name__ for package in PACKAGES]
    for package in PACKAGES:
        folder = Path(package.__path__[0])
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            if parts[1:] == ("__init__",):
                continue
            room = room_of(".".join(parts))
            seen.add(room)
            for module in imports(path):
                other = room_of(module)
                if other not in (room, *names) and other.split(".")[0] in names:
                    assert ROOMS.index(other) < ROOMS.index(room), (path, module)
    assert seen == set(ROOMS)
