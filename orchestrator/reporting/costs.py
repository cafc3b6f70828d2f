"""What detectors cost to run, measured once on a machine and kept."""

import contextlib
import json
import os
import platform
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from pydantic import ValidationError

from kd_models.evaluation.cost import Cost
from kd_models.export.cost import measure_cost
from kd_models.export.errors import ExportError
from kd_models.methods.base import Detector
from kd_models.threads import cores
from orchestrator.planning.keys import canonical_json, sha256
from orchestrator.planning.stage import Stage
from orchestrator.planning.storage import cache_path


def cost_of(stage: Stage) -> Cost:
    """Return what the detector that a stage trains costs to run."""
    return cost_of_detector(stage.step.detector.cost_group, stage.image_size)


@cache
def cost_of_detector(detector: Detector, image_size: int) -> Cost:
    """Count and measure what a detector costs for one image.

    What was measured on this machine before is read again, so that two sweeps say the same of the
    same network. Call this first where nothing else runs.

    Raises:
        ExportError: the detector cannot be exported.
    """
    identity = {
        "detector": json.loads(detector.model_dump_json()),
        "image_size": image_size,
        "machine": _machine(),
        "code": [_code(name) for name in sorted({"kd_models", "kd_score", _package(detector)})],
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
    }
    file = cache_path() / "measured" / f"{sha256(canonical_json(identity))}.json"
    if (kept := _read(file)) is not None:
        return kept
    with torch.random.fork_rng(devices=[]):
        scorer = detector.scorer().eval()
    try:
        found = measure_cost(scorer, channels=detector.channels, image_size=image_size)
    except ExportError as error:
        raise ExportError(f"method {detector.method}: {error}") from error
    return _keep(file, found)


def _read(file: Path) -> Cost | None:
    """Return what was measured before, if that is there and whole."""
    with contextlib.suppress(OSError, ValidationError):
        return Cost.model_validate_json(file.read_bytes())
    return None


def _keep(file: Path, found: Cost) -> Cost:
    """Keep what was measured, where that is possible: it can be measured again.

    Returns:
        What is kept: of two processes that measure at once the first counts, for both.
    """
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
        try:
            os.link(unfinished, file)  # which replaces nothing
        except FileExistsError:
            if (kept := _read(file)) is not None:
                return kept
            os.replace(unfinished, file)  # it is damaged
        finally:
            unfinished.unlink(missing_ok=True)
    return found


def _package(detector: Detector) -> str:
    return type(detector).__module__.partition(".")[0]


@cache
def _code(package: str) -> str:
    """Return the hash of a package's sources, which say what settings mean."""
    found = find_spec(package)
    assert found is not None, package
    places = [Path(place) for place in found.submodule_search_locations or ()]
    files = [file for place in places for file in place.rglob("*.py")] or [Path(str(found.origin))]
    return sha256("".join(sha256(file.read_bytes()) for file in sorted(files)))


def _machine() -> dict[str, str | int]:
    """Return what latency depends on: the processor, and how much of it this process may use."""
    name = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(
            (line.partition(":")[2].strip() for line in lines if "model name" in line), name
        )
    return {"node": platform.node(), "processor": name, "cores": cores()}
