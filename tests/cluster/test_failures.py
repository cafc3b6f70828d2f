"""What goes wrong in a sweep is said, and loses nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.local.mlflow_server import start_mlflow_server
from infra.local.services import free_port

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC: dict[str, Any] = {
    "name": "failures",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["p-kdgan-23"],
    # The second weighting overflows in its first step.
    "loss_weights": [{}, {"kx": 1e39}],
    "teacher": {"widths": [2, 4, 8]},
    "training": {"epochs": 2, "batch_size": 32},
    "resources": {"workers": 1, "checkpoint_every": 1},
}


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    database, artifacts = f"sqlite:///{tmp_path / 'server.db'}", str(tmp_path / "artifacts")
    server = start_mlflow_server(tmp_path, free_port(), database, artifacts, {})
    yield server.uri
    server.service.stop()


def is_failed(run: Any) -> bool:
    return bool(run.info.status == "FAILED")


def test_a_diverging_candidate_fails_alone(
    home_with: Callable[..., Any], mlflow_server: str
) -> None:
    home = home_with("home", SPEC)
    finished = home.run(MLFLOW_TRACKING_URI=mlflow_server)
    assert finished.code == 1, finished.log
    good, bad = finished.answer["candidates"]
    assert (good["status"], bad["status"]) == ("finished", "skipped")
    assert "kdgan-2 failed: Diverged" in bad["reason"]
    assert "epoch 1" in bad["reason"]
    assert finished.answer["trained"] == 3

    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("failures")
    assert experiment is not None
    runs = {
        run.data.tags.get("stage_key", "sweep"): run
        for run in client.search_runs([experiment.experiment_id])
    }
    assert len(runs) == 6
    assert runs[good["stage_key"]].info.status == "FINISHED"
    assert runs[bad["stage_key"]].info.status == "KILLED"
    assert "Diverged" in runs[bad["stage_key"]].data.tags["reason"]
    failed = {run.data.tags.get("step", "the sweep") for run in runs.values() if is_failed(run)}
    assert failed == {"the sweep", "kdgan-2"}
    good_run = runs[good["stage_key"]].info.run_id
    names = {artifact.path for artifact in client.list_artifacts(good_run)}
    assert {"roc.png", "scores.png", "package"} <= names


def test_more_gpus_than_there_are_is_said_at_once(home_with: Callable[..., Any]) -> None:
    spec = {**SPEC, "resources": {"workers": 2, "gpus_per_worker": 4}}
    finished = home_with("home", spec).run(CUDA_VISIBLE_DEVICES="")
    assert finished.code == 2
    assert "2 workers, each with 1 CPUs and 4 GPUs" in finished.log
    assert "0 GPUs" in finished.log
    assert "resources.gpus_per_worker" in finished.log
