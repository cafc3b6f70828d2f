"""Whole sweeps as a user runs them, with nothing on the disk but MLflow's database."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.s3_server import S3Server, start_s3_server

pytestmark = pytest.mark.slow

SPEC: dict[str, Any] = {
    "name": "bucket",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["p-kdgan-23"],
    "student_widths": [[1, 2, 4]],
    "teacher": {"widths": [1, 2, 4]},
    "training": {"epochs": 2, "batch_size": 32},
    "storage": {"root": "s3://kd-test/some/where"},
}

Kd = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    running = start_s3_server(tmp_path / "s3", "kd-test")
    yield running
    running.service.stop()


@pytest.fixture
def kd(server: S3Server, tmp_path: Path) -> Kd:
    """Starts ``kd`` in a new home."""

    def start(home: str, *arguments: str) -> "subprocess.Popen[str]":
        folder = tmp_path / home
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, **server.environment, "KD_HOME": str(folder)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("kd")), *arguments],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process: "subprocess.Popen[str]") -> Any:
    out, log = process.communicate()
    assert process.returncode == 0, log
    return json.loads(out), log


def write(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return str(path)


def test_a_sweep_leaves_nothing_on_the_disk_that_another_machine_needs(
    kd: Kd, tmp_path: Path
) -> None:
    file = write(tmp_path / "sweep.yaml")
    sweep = ("sweep", file, "--executor", "inline", "--json")
    answer, _ = ended(kd("one", *sweep))
    assert (answer["trained"], answer["reused"]) == (3, 0)
    files = {path.name for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert files == {"mlflow.db", "mlflow.db.lock"}
    # Another machine, with another database.
    again, _ = ended(kd("two", *sweep))
    assert (again["trained"], again["reused"]) == (0, 3)
    assert [row["auroc"] for row in again["candidates"]] == [
        row["auroc"] for row in answer["candidates"]
    ]
    ended(kd("one", "choose", "bucket", "--register", "--json"))
    package = tmp_path / "package"
    ended(kd("one", "download", "bucket.digits.0", str(package), "--json"))
    names = {path.name for path in package.iterdir()}
    assert names >= {"README.md", "config.json", "model.onnx", "model.safetensors"}


def test_two_sweeps_at_once_train_every_stage_once(kd: Kd, tmp_path: Path) -> None:
    file = write(tmp_path / "sweep.yaml", training={"epochs": 20, "batch_size": 32})
    sweep = ("sweep", file, "--executor", "inline", "--json")
    both = [kd(home, *sweep) for home in ("one", "two")]
    answers, logs = zip(*map(ended, both), strict=True)
    assert sum(answer["trained"] for answer in answers) == 3
    assert sum(answer["reused"] for answer in answers) == 3
    assert any("waiting for process" in log for log in logs), logs


def test_a_bucket_that_is_away_for_a_while_costs_nothing(
    kd: Kd, server: S3Server, tmp_path: Path
) -> None:
    file = write(
        tmp_path / "sweep.yaml",
        training={"epochs": 40, "batch_size": 32},
        resources={"checkpoint_every": 1},
    )
    process = kd("one", "sweep", file, "--executor", "inline", "--json")
    assert process.stderr is not None
    while " started " not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(2)
    assert process.poll() is None
    server.service.stop()
    time.sleep(4)
    port = int(server.endpoint_url.rpartition(":")[2])
    keys = (server.access_key, server.secret_key)
    restarted = start_s3_server(tmp_path / "s3", "kd-test", port, keys)
    try:
        answer, _ = ended(process)
    finally:
        restarted.service.stop()
    assert answer["trained"] == 3
