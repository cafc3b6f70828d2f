"""How things are measured: each side in processes of its own, by turns, on one machine."""

import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from kd_models.data import load, to_model_input
from kd_models.recipe import Recipe
from kd_models.training.epochs import Epoch, Training, train_together
from kd_models.world import World

PACKAGES = ("torch", "ray", "mlflow")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""on which is measured"""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Timing:
    """What a side came to."""

    value: float
    """median over the rounds"""
    spread: float
    """largest minus smallest, of the median"""
    peak_mib: float
    """the most memory its process held"""


def by_turns(sides: Mapping[str, Callable[[], float]], rounds: int = 3) -> dict[str, Timing]:
    """Run each side in a new process, one after the other, ``rounds`` times.

    By turns, since the machine is not equally fast all the time; in processes of their own, so
    that neither inherits the other's memory or threads.
    """
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(in_a_process(side))
    return {
        name: Timing(
            statistics.median(values := [value for value, _ in found]),
            (max(values) - min(values)) / statistics.median(values),
            max(peak for _, peak in found),
        )
        for name, found in results.items()
    }


def in_a_process(side: Callable[[], float]) -> tuple[float, float]:
    """Return what ``side`` returns in a new process, and the most MiB that held."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(side, sender))
    process.start()
    sender.close()
    value, peak = receiver.recv()
    process.join()
    return float(value), float(peak)


def _report(side: Callable[[], float], sender: Any) -> None:
    value = side()
    sender.send((value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def emit(case: str, unit: str, sides: Mapping[str, Timing], **more: Any) -> None:
    """Print a case as one line of JSON."""
    line = {
        "case": case,
        "unit": unit,
        **{name: round(m.value, 4) for name, m in sides.items()},
        "spread": {name: round(m.spread, 3) for name, m in sides.items()},
        "peak_mib": {name: round(m.peak_mib) for name, m in sides.items()},
        **more,
        "machine": machine(),
    }
    print(json.dumps(line), flush=True)


def machine() -> dict[str, Any]:
    """Say what this is measured on and with."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
        "gpu": gpu,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def run_sweep(spec: Mapping[str, Any], *options: str) -> tuple[float, Any]:
    """Run a sweep file as a user does, in an empty home; return seconds and what it printed."""
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "sweep.yaml"
        file.write_text(yaml.safe_dump(dict(spec)), encoding="utf-8")
        began = time.perf_counter()
        answer = subprocess.run(
            [sys.executable, str(ROOT / "jobs/sweep.py"), str(file), "--json", *options],
            env={**os.environ, "KD_HOME": home},
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began, json.loads(answer.stdout)


def seconds_of(function: Callable[[], Any], times: int) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    function()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize(DEVICE)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def digits(channels: int, image_size: int = 32) -> Tensor:
    """All real training images of scikit-learn's digits on ``DEVICE``, (1437, channels, S, S)."""
    images = load("digits", Path("unused")).train.images
    return to_model_input(images, image_size=image_size, channels=channels).to(DEVICE)


def epoch_seconds(trainings: Sequence[Training], recipe: Recipe, world: World) -> float:
    """Return the median seconds of an epoch, the first left out."""
    taken: list[float] = []
    began = time.perf_counter()

    def after_epoch(epoch: Epoch) -> tuple[()]:
        nonlocal began
        taken.append(time.perf_counter() - began)
        began = time.perf_counter()
        return ()

    train_together(trainings, recipe, after_epoch, world=world)
    return statistics.median(taken[1:])
