"""What more than one room's tests need."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float64]
HERE = Path(__file__).parent

# What networks cost is measured once, and not in every test's home.
os.environ["XDG_CACHE_HOME"] = str(HERE.parent / ".pytest_cache" / "home")

# How long examples take says how busy the machine is. In CI they are the same every time, so that
# what passed does not fail for a change that has nothing to do with it; elsewhere they are new.
settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = getattr(item, "fixturenames", ())
        if "two_workers" in used:
            item.add_marker(pytest.mark.slow)
        # Whoever runs tests in several processes trains these in one of them alone.
        for fixture in ("eca_trained", "teachers_and_students"):
            if fixture in used:
                item.add_marker(pytest.mark.xdist_group(fixture))


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Runs a script, which calls two_processes.run, in two processes.

    Returns what each saved, and the first one ``alone``.
    """

    def run(script: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("workers")
        workers = [
            subprocess.Popen(
                [sys.executable, str(HERE / script), str(rank), "2", str(folder)],
                env={**os.environ, "PYTHONPATH": str(HERE / "helpers")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            outputs = [worker.communicate()[0] for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        assert [worker.returncode for worker in workers] == [0, 0], "\n".join(outputs)
        return {name: torch.load(folder / f"{name}.pt") for name in ("alone", "rank0", "rank1")}

    return run


@pytest.fixture(scope="session")
def planted() -> Callable[..., Path]:
    """Makes a tree in MVTec's layout: one category of woven cloth, with defects planted in it."""
    return plant


def plant(root: Path, *, train: int = 96, test: int = 16, size: int = 128, seed: int = 0) -> Path:
    """Write the category ``cloth`` below ``root``, ``test`` images of each kind; return its folder.

    Defects: ``hole`` (a dark disc), ``cut`` (a bright line), ``twist`` (the weave runs the other
    way in a square). Their masks show the pixels that were changed.
    """
    rng = np.random.default_rng(seed)
    folder = root / "cloth"
    for index in range(train):
        _save(folder / f"train/good/{index:03}.png", _cloth(rng, size))
    for index in range(test):
        _save(folder / f"test/good/{index:03}.png", _cloth(rng, size))
    for defect, spoil in (("hole", _hole), ("cut", _cut), ("twist", _twist)):
        for index in range(test):
            cloth, mask = spoil(rng, _cloth(rng, size))
            _save(folder / f"test/{defect}/{index:03}.png", cloth)
            _save(folder / f"ground_truth/{defect}/{index:03}_mask.png", mask.astype(float))
    return folder


def _cloth(rng: np.random.Generator, size: int) -> Pixels:
    """Diagonal threads, each cloth with its own phase, light and grain; (size, size) in [0, 1]."""
    y, x = np.mgrid[:size, :size] * (128 / size)
    phase, light = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.85, 1.0)
    threads = np.sin((x + y) * 0.55 + phase[0]) * 0.5 + np.sin((x - y) * 0.12 + phase[1]) * 0.2
    return np.clip((0.5 + 0.3 * threads) * light + rng.normal(0, 0.03, (size, size)), 0, 1)


def _hole(rng: np.random.Generator, cloth: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    size = len(cloth)
    radius = rng.uniform(0.05, 0.1) * size
    cx, cy = rng.uniform(radius, size - radius, 2)
    y, x = np.mgrid[:size, :size]
    mask = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    return np.where(mask, cloth * 0.15, cloth), mask


def _cut(rng: np.random.Generator, cloth: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    size = len(cloth)
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.2, 0.4) * size
    cx, cy = rng.uniform(0.3 * size, 0.7 * size, 2)
    y, x = np.mgrid[:size, :size]
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    mask = (abs(along) < length / 2) & (abs(across) < 0.016 * size)
    return np.where(mask, 0.95, cloth), mask


def _twist(rng: np.random.Generator, cloth: Pixels) -> tuple[Pixels, NDArray[np.bool_]]:
    size = len(cloth)
    side = int(rng.uniform(0.2, 0.3) * size)
    left, top = rng.integers(0, size - side, 2)
    part = (slice(top, top + side), slice(left, left + side))
    twisted, mask = cloth.copy(), np.zeros(cloth.shape, dtype=bool)
    twisted[part], mask[part] = cloth[part][:, ::-1], True
    return twisted, mask


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(path)
