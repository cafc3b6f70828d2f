"""What a detector costs where it is deployed: counted, and measured as exported."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

import kd_score.measure
from kd_models.evaluation.cost import Cost, NetworkCost, complexity
from kd_models.evaluation.scoring import Scorer
from kd_models.export.errors import ExportError
from kd_models.export.onnx_model import program_of, to_onnx


def measure_cost(scorer: Scorer, *, channels: int, image_size: int) -> Cost:
    """Return what a detector costs for an image of C channels and S x S pixels.

    Measured in a process of its own, one network after another: call it where nothing else runs.
    """
    deployed = measure_network(scorer, channels=channels, image_size=image_size)
    if scorer.teacher is None:
        return Cost(deployed=deployed, student=deployed)
    student = measure_network(scorer.student, channels=channels, image_size=image_size)
    return Cost(deployed=deployed, student=student)


def measure_network(network: nn.Module, *, channels: int, image_size: int) -> NetworkCost:
    """Return what a network costs: a scorer, or a part of one.

    Args:
        network: takes images (B, C, S, S) in [-1, 1].
        channels: C.
        image_size: S.

    Raises:
        ExportError: it cannot be exported, or ONNX Runtime does not run what is.
    """
    example = torch.zeros(1, channels, image_size, image_size)
    parts = [network]
    if isinstance(network, Scorer):  # what it adds to its networks is not counted
        parts = [part for part in (network.student, network.teacher) if part is not None]
    counted = [complexity(part, example) for part in parts]
    model = to_onnx(program_of(network, channels=channels, image_size=image_size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        result = subprocess.run(
            [sys.executable, "-m", kd_score.measure.__name__, path, str(channels), str(image_size)],
            capture_output=True,
            text=True,
        )
    if result.returncode:
        why = result.stderr.strip().splitlines() or ["it says nothing"]
        raise ExportError(
            f"ONNX Runtime {version('onnxruntime')} does not run its exported scorer "
            f"({why[-1][:300]}); another version may"
        )
    return NetworkCost(
        params=sum(count.params for count in counted),
        flops=sum(count.flops for count in counted),
        size_bytes=len(model),
        **json.loads(result.stdout),
    )
