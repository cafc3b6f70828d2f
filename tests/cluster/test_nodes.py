"""Nodes that come and go: raylets of this machine that are killed, join, and are asked for."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.local.ray_nodes import RayNode, start_head, start_worker

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC: dict[str, Any] = {
    "name": "nodes",
    "datasets": ["digits"],
    "normal_classes": [0],
    "structures": ["kdgan-2"],
    "student_widths": [[1, 2, 4], [2, 4, 8]],
    "teacher": {"widths": [4, 8, 16]},
    "training": {"epochs": 120, "batch_size": 32},
    "evaluation": {"every": 60},
    "resources": {"checkpoint_every": 20, "lanes": 1},
}
PORT = 6393
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
SMALL = ("--object-store-memory=100000000",)
HEAD = (*SMALL, "--include-dashboard=false", "--num-cpus=0")


@contextlib.contextmanager
def nodes(*started: RayNode) -> Iterator[None]:
    try:
        yield
    finally:
        for node in reversed(started):
            node.stop()


def check_runs(home: Any, stages: int) -> None:
    client = MlflowClient(home.database)
    experiment = client.get_experiment_by_name("nodes")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    keys = [run.data.tags.get("stage_key", "the sweep") for run in runs]
    assert len(keys) == len(set(keys)) == stages + 1, "a stage has two runs"
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        steps = [p.step for p in client.get_metric_history(run.info.run_id, "epoch")]
        assert sorted(steps) == list(range(1, len(steps) + 1)), "an epoch is missing or doubled"


@pytest.mark.timeout(900)
def test_a_node_that_is_killed_and_one_that_joins_change_nothing(
    home_with: Callable[..., Any], tmp_path: Path
) -> None:
    head = start_head(tmp_path / "ray", PORT, TOKEN, HEAD)
    one = (*SMALL, "--num-cpus=1")
    first = start_worker(tmp_path / "ray", "first", head.address, TOKEN, one)
    home = home_with("home", SPEC)
    joined: list[RayNode] = []
    with nodes(head, first):
        process = home.start(RAY_ADDRESS=head.address, **TOKEN)
        deadline = time.monotonic() + 240
        while not list(home.path.glob("checkpoints/*/*")):
            assert process.poll() is None, home.log.read_text()
            assert time.monotonic() < deadline, home.log.read_text()
            time.sleep(0.05)
        first.kill()
        for name in ("second", "third"):
            joined.append(start_worker(tmp_path / "ray", name, head.address, TOKEN, one))
        with nodes(*joined):
            finished = home.finish(process)
    assert finished.code == 0, finished.log
    assert finished.answer["trained"] == 3
    assert "trying again (" in finished.log
    check_runs(home, stages=3)


@pytest.mark.timeout(600)
def test_a_cluster_of_no_workers_is_asked_to_grow(
    home_with: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(AUTOSCALING))
    environment = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    environment |= {"RAY_AUTH_MODE": "disabled"}
    # Ray's provider of such nodes looks for the head at this port.
    head = start_head(
        tmp_path / "ray", 6379, environment, (*HEAD, f"--autoscaling-config={config}")
    )
    with nodes(head):
        quick = {**SPEC, "training": {"epochs": 2, "batch_size": 32}}
        quick["resources"] = {"scale_up_minutes": 3}
        home = home_with("home", quick)
        finished = home.run(RAY_ADDRESS=head.address, RAY_AUTH_MODE="disabled")
    assert finished.code == 0, finished.log
    assert "waiting for the cluster to grow, for 3 minutes at most" in finished.log


AUTOSCALING: dict[str, Any] = {
    "cluster_name": "fake_multinode",
    "max_workers": 2,
    "idle_timeout_minutes": 5,
    "provider": {"type": "fake_multinode"},
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 100_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
    "upscaling_speed": 1.0,
    "auth": {},
    "docker": {},
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
}
"""Ray's own provider of nodes that are processes of this machine."""
