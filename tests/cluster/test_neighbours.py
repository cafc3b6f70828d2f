"""Sweeps beside others: on one home, and on clusters that are too small."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from infra.local.loopback_ray import LOOPBACK
from infra.local.ray_nodes import start_head

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC: dict[str, Any] = {
    "name": "neighbours",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["kdgan-2"],
    "teacher": {"widths": [2, 4, 8]},
    "training": {"epochs": 2, "batch_size": 32},
    "resources": {"workers": 1, "concurrent_trials": 1},
}
SWEEPS = int(os.environ.get("KD_TEST_SWEEPS", "2"))
ROUNDS = int(os.environ.get("KD_TEST_ROUNDS", "1"))


@pytest.mark.timeout(900 * ROUNDS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_sweeps_started_at_once_on_a_new_home_all_succeed(
    home_with: Callable[..., Any], turn: int
) -> None:
    """They need the same teacher and the same student, make the same database, and one has a
    student more: nothing is broken, and nothing that is finished is called failed."""
    home = home_with(f"home{turn}", SPEC)
    larger = home.with_file("larger", {**SPEC, "structures": ["kdgan-2", "alone"]})
    processes = [
        (larger if number % 2 else home).start(log=f"log{number}") for number in range(SWEEPS)
    ]
    finished = [home.finish(process, f"log{n}") for n, process in enumerate(processes)]
    assert [sweep.code for sweep in finished] == [0] * SWEEPS, [sweep.log for sweep in finished]
    rows = [row for sweep in finished for row in sweep.answer["candidates"]]
    assert {row["status"] for row in rows} == {"finished"}
    # Whoever trained it, both tell of the same student.
    for key in {row["stage_key"] for row in rows}:
        assert len({row["auroc"] for row in rows if row["stage_key"] == key}) == 1
    assert len(home.stored()) == 3
    assert sum(sweep.answer["trained"] for sweep in finished) == 3, "a stage was trained twice"
    client = MlflowClient(home.database)
    experiment = client.get_experiment_by_name("neighbours")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    keys = [run.data.tags.get("stage_key", "the sweep") for run in runs]
    assert sorted(keys) == sorted({*home.stored(), "the sweep"})
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.fixture
def small_cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a Ray cluster of this machine with 200 MB to give away."""
    environment = {"RAY_AUTH_MODE": "disabled", **LOOPBACK}
    size = ("--num-cpus=2", "--memory=200000000", "--object-store-memory=100000000")
    head = start_head(tmp_path, 6391, environment, (*size, "--include-dashboard=false"))
    yield {"RAY_ADDRESS": "127.0.0.1:6391", **environment}
    head.stop()


def test_less_memory_than_a_trial_reserves_is_said_at_once(
    home_with: Callable[..., Any], small_cluster: dict[str, str]
) -> None:
    began = time.monotonic()
    finished = home_with("home", SPEC).run(**small_cluster)
    assert time.monotonic() - began < 120
    assert finished.code == 2, finished.log
    assert (
        "a trial needs for itself 500 MB of memory, but the cluster (1 nodes, 200 MB of memory) "
        "holds 0; start Ray with more (ray start --memory=BYTES), or use a larger cluster"
    ) in finished.log
