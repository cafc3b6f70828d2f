"""``kd doctor`` on a cluster with faults."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.loopback_ray import LOOPBACK
from infra.local.ray_nodes import start_head, start_worker

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ADDRESS = "127.0.0.1:6394"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, **LOOPBACK}
SMALL = ("--object-store-memory=100000000",)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A head, and a worker with another version of a package and a GPU that is not there."""
    folder = tmp_path_factory.mktemp("ray")
    package = folder / "packages/safetensors-0.0.1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: safetensors\nVersion: 0.0.1\n")
    other = {**TOKEN, "PYTHONPATH": str(folder / "packages")}
    head = start_head(folder, 6394, TOKEN, (*SMALL, "--num-cpus=0", "--include-dashboard=false"))
    options = (*SMALL, "--num-cpus=1", "--num-gpus=1")
    worker = start_worker(folder, "worker", ADDRESS, other, options)
    yield
    worker.stop()
    head.stop()


@pytest.fixture
def doctor(cluster: None, tmp_path: Path) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Return the exit code and what is not well."""

    def run(
        resources: dict[str, Any], address: str = ADDRESS, **environment: str
    ) -> tuple[int, list[dict[str, Any]]]:
        file = tmp_path / "sweep.yaml"
        spec = {"name": "patient", "datasets": ["digits"], "normal_classes": [0]}
        file.write_text(yaml.safe_dump({**spec, "structures": ["alone"], "resources": resources}))
        kd = str(Path(sys.executable).with_name("kd"))
        ended = subprocess.run(
            [kd, "doctor", str(file), "--address", address, "--json"],
            env={**os.environ, **TOKEN, "KD_HOME": str(tmp_path / "home"), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ended.stdout, ended.stderr
        answer = json.loads(ended.stdout)
        return ended.returncode, [f for f in answer["findings"] if f["level"] != "ok"]

    return run


def test_a_machine_with_other_packages_and_no_gpu(doctor: Callable[..., Any]) -> None:
    code, (versions, gpus) = doctor({"gpus_per_worker": 1})
    assert code == 1
    assert versions["where"] == gpus["where"] == "worker (127.0.0.1)"
    assert "safetensors 0.0.1 (here " in versions["what"]
    assert "requirements.txt" in versions["fix"]
    assert "Ray gives away 1 GPUs here, and PyTorch sees 0" in gpus["what"]
    assert "NVIDIA driver" in gpus["fix"]


def test_more_than_the_cluster_has(doctor: Callable[..., Any]) -> None:
    code, found = doctor({"cpus_per_worker": 64})
    assert code == 1
    (cluster,) = (finding for finding in found if finding["check"] == "cluster")
    assert "holds 0" in cluster["what"]
    assert "lower resources.workers" in cluster["what"] + cluster["fix"]


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "RAY_AUTH_TOKEN"),
        ({"address": "127.0.0.1:1"}, "unset RAY_ADDRESS"),
    ],
)
def test_a_cluster_that_lets_nobody_in(
    doctor: Callable[..., Any], changes: dict[str, str], fix: str
) -> None:
    code, (finding,) = doctor({}, **changes)
    assert code == 1
    assert finding["check"] == "cluster"
    assert fix in finding["fix"]
