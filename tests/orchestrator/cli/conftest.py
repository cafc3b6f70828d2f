"""Commands, run in this process: to start one costs seconds."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packages import measured
from PIL import Image
from typer.testing import CliRunner

from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import GanDetector
from kd_models.package import Package, PackageConfig, Preprocessing
from orchestrator.cli import app


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> Any:
        """Standard output for a program: one line of JSON."""
        assert self.stdout.count("\n") == 1
        assert self.stdout.endswith("\n")
        return json.loads(self.stdout)


@pytest.fixture(autouse=True)
def a_home_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = dict(os.environ)
    for name in ("KD_VGG16_WEIGHTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KD_HOME", str(tmp_path / "home"))
    # No terminal: nothing is wrapped or coloured.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    # Debian's copy would make what is there depend on the machine.
    monkeypatch.setattr("kd_models.data.idx_sets.DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    yield
    # Commands prepare the environment of the Ray that they would start.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def kd() -> Callable[..., Ended]:
    """Runs a command of ``kd`` with arguments."""

    def run(name: str, *arguments: object) -> Ended:
        result = CliRunner().invoke(app, [name, *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a student of digits, normal class 3, that nobody trained."""
    network = NetworkConfig(channels=1, widths=(1, 2, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = network.generator().state_dict()
    config = PackageConfig(
        axes={"structure": "kdgan-2"},
        dataset="digits",
        normal_class="3",
        normal_class_name="3",
        seed=0,
        stage_key="0" * 64,
        fingerprint="0",
        detector=GanDetector(network=network, distance="mse"),
        preprocessing=Preprocessing(image_size=32, channels=1),
        threshold=0.0,
        measured=measured(),
    )
    folder = tmp_path_factory.mktemp("student") / "package"
    Package(config, weights).save(folder)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three images, one in a sub-folder, beside a file that is none."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "more/c.bmp"):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder
