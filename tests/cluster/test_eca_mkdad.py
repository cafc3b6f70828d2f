"""ECA_MKDAD from a sweep file to heat maps: planted defects are found, and found where they are."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kd_models.data import load, one_class
from kd_models.evaluation.localisation import heat_maps
from kd_models.package import Package

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not os.environ.get("KD_VGG16_WEIGHTS"),
        reason="needs VGG16's ImageNet weights: set KD_VGG16_WEIGHTS to a state dict of them",
    ),
]

ROOT = Path(__file__).resolve().parents[2]
NORMAL, EACH = 12, 12


@pytest.mark.timeout(900)
def test_planted_defects_are_found_and_located(
    home_with: Callable[..., Any], planted: Callable[..., Path], tmp_path: Path
) -> None:
    cloth = planted(tmp_path / "parts", train=64, test=EACH)
    dataset = f"mvtec:{cloth.parent}"
    home = home_with(
        "home",
        {
            "name": "cloth",
            "method": "eca_mkdad",
            "datasets": [dataset],
            "baselines": [],
            "image_size": 64,
            "training": {"epochs": 25, "batch_size": 16},
            "evaluation": {"every": 25},
            "resources": {"workers": 2},
        },
    )
    swept = home.run()
    assert swept.code == 0, swept.log
    [row] = swept.answer["candidates"]
    assert (row["normal_class"], row["placement"], row["lambda"]) == ("cloth", "eca", 0.1)
    assert row["auroc"] >= 0.9
    assert row["pixel_auroc"] >= 0.8
    assert 0 < row["pro"] <= 1
    assert (row["student_params"], row["params"]) == (346_856, 346_856 + 14_714_688)

    def job(name: str, *arguments: object) -> Any:
        done = subprocess.run(
            [sys.executable, str(ROOT / f"jobs/{name}.py"), *map(str, arguments), "--json"],
            env={**os.environ, "KD_HOME": str(home.path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # The limit is what must be deployed, teacher and all; the student alone would be within it.
    [champion] = job("choose", "cloth", "--max-params", 16_000_000, "--register")["champions"]
    package = tmp_path / "detector"
    job("download", champion["model"], package)
    scored = job("score", package, dataset, "--heatmaps", tmp_path / "maps")
    assert scored["auroc"] == pytest.approx(row["auroc"], abs=1e-3)
    assert scored["pixel_auroc"] == pytest.approx(row["pixel_auroc"], abs=1e-3)
    pictures = sorted((tmp_path / "maps").rglob("*.png"))
    assert len(pictures) == len(scored["images"]) == NORMAL + 3 * EACH
    with Image.open(pictures[0]) as picture:
        assert picture.size == (256, 256)

    detector = Package.load(package)
    task = one_class(load(dataset, tmp_path), "cloth", image_size=64, channels=3)
    assert task.masks is not None
    maps = heat_maps(detector.scorer(), task.test)
    hottest = [
        bool(mask.flatten()[heat.argmax()])
        for heat, mask, novel in zip(maps, task.masks, task.novel, strict=True)
        if novel
    ]
    assert np.mean(hottest) > 0.6
    # One image, a batch and the sweep itself agree.
    whole = detector.score(task.test)
    alone = np.array([float(detector.score(image[None])) for image in task.test])
    np.testing.assert_allclose(alone, whole.numpy(), rtol=1e-4)
    by_name = {image["image"]: image["score"] for image in scored["images"]}
    assert task.names is not None
    np.testing.assert_allclose([by_name[name] for name in task.names], alone, rtol=1e-4)
