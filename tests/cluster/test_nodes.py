"""A cluster without workers, which is asked to grow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.loopback_ray import LOOPBACK
from infra.local.ray_nodes import start_head

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC: dict[str, Any] = {
    "name": "grows",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["kdgan-2"],
    "student_widths": [[1, 2, 4]],
    "teacher": {"widths": [4, 8, 16]},
    "training": {"epochs": 2, "batch_size": 32},
    "resources": {"scale_up_minutes": 3},
}


def test_a_cluster_of_no_workers_is_asked_to_grow(
    home_with: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(AUTOSCALING))
    environment = {"RAY_AUTH_MODE": "disabled", **LOOPBACK}
    scaler = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    options = ("--object-store-memory=100000000", "--include-dashboard=false", "--num-cpus=0")
    # Ray's provider of such nodes looks for the head at this port.
    head = start_head(
        tmp_path, 6379, environment | scaler, (*options, f"--autoscaling-config={config}")
    )
    try:
        finished = home_with("home", SPEC).run(RAY_ADDRESS="127.0.0.1:6379", **environment)
    finally:
        head.stop()
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
