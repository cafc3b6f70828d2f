"""Photographs travel: only the process that runs the sweep sees their files."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_files_that_are_gone_once_training_has_started_are_not_missed(
    home_with: Callable[..., Any], planted: Callable[..., Path], tmp_path: Path
) -> None:
    cloth = planted(tmp_path / "parts", train=24, test=6)
    home = home_with(
        "home",
        {
            "name": "cloth",
            "datasets": [f"mvtec:{cloth.parent}"],
            "baselines": [],
            "scores": ["paper"],
            "structures": ["p-kdgan-23"],
            "teacher": {"widths": [2, 4, 8]},
            "training": {"epochs": 2, "batch_size": 8},
        },
    )
    process = home.start()
    while " started " not in home.log.read_text():
        assert process.poll() is None, home.log.read_text()
        time.sleep(0.02)
    cloth.parent.rename(tmp_path / "elsewhere")
    finished = home.finish(process)
    assert finished.code == 0, finished.log
    assert finished.answer["trained"] == 3
