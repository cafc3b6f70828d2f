"""kd-score in an environment of its own, which holds nothing of PyTorch."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exported import digits, fitted_package
from PIL import Image

from kd_models.export.packaged import export
from kd_models.package import Package

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.mark.slow
def test_it_scores_as_pytorch_does_where_there_is_none(tmp_path: Path) -> None:
    data = digits()
    export(fitted_package(data), data, tmp_path / "detector")
    environment = tmp_path / "environment"
    subprocess.run([UV, "venv", "--quiet", environment, "--python", sys.executable], check=True)
    python = environment / "bin/python"
    source = shutil.copytree(ROOT / "kd_score", tmp_path / "source")  # it is built in place
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, source], check=True)
    there = subprocess.run(
        [UV, "pip", "list", "--python", python], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "onnxruntime" in there
    assert not {"torch", "ray", "mlflow", "pydantic", "kd-orchestrator"} & set(there)

    pixels = ((data.test[:8, 0] + 1) * 127.5).round().to(torch.uint8)
    for number, image in enumerate(pixels.numpy()):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    result = subprocess.run(
        [environment / "bin/kd-score", tmp_path / "detector", *sorted(tmp_path.glob("*.png"))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    scores = [float(row["score"]) for row in csv.DictReader(io.StringIO(result.stdout))]
    expected = Package.load(tmp_path / "detector").score(pixels[:, None] / 127.5 - 1)
    assert scores == pytest.approx(expected.tolist(), rel=1e-4)
