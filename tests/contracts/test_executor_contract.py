"""What every executor does: the same sweep comes to the same results, byte for byte."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient

from orchestrator.executors import EXECUTORS, open_executor
from orchestrator.executors.base import ExecutorError
from orchestrator.store import open_store
from orchestrator.store.record import NETWORKS

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC: dict[str, Any] = {
    "name": "same",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["p-kdgan-23"],
    "loss_weights": [{}, {"kx": 1e39}],  # the second overflows in its first step
    "teacher": {"widths": [2, 4, 8]},
    "training": {"epochs": 3, "batch_size": 32},
    "resources": {"lanes": 1, "checkpoint_every": 1, "concurrent_trials": 1},
}
NO_RAY = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name == "ray" or name.startswith("ray."):
            raise ImportError(f"{name} is not to be imported here")
sys.meta_path.insert(0, NoRay())
sys.argv[0] = "kd"
from orchestrator.cli import app
app()
"""


def start(
    home: Path, spec: dict[str, Any], *arguments: str, program: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    home.mkdir(exist_ok=True)
    file = home / "sweep.yaml"
    file.write_text(yaml.safe_dump(spec))
    kd = program or (str(Path(sys.executable).with_name("kd")),)
    environment = {**os.environ, "KD_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        [*kd, "sweep", str(file), "--json", *arguments],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    out, log = process.communicate()
    return process.returncode, json.loads(out) if out else None, log


def stored(home: Path) -> dict[str, bytes]:
    store = open_store(f"{home}/store")
    keys = [path.stem for path in home.glob("store/stages/*/*.json")]
    return {key: store.read(key, NETWORKS) for key in keys}


def checkpoints(home: Path) -> set[str]:
    return {path.name for path in home.glob("checkpoints/*/*") if len(path.name) == 64}


def runs_of(home: Path) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("same")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("stage_key", "the sweep"): run for run in runs}


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is measured anew by every run."""
    return [{k: v for k, v in row.items() if "latency" not in k} for row in rows]


@pytest.mark.cluster
def test_executors_come_to_the_same(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for name in EXECUTORS:
        code, answer, log = ended(start(tmp_path / name, SPEC, "--executor", name))
        assert code == 1, log  # one candidate is lost to its divergence
        lines = [line[9:] for line in log.splitlines() if line[9:].startswith(("start", "FAILED"))]
        found[name] = {
            "stored": stored(tmp_path / name),
            "candidates": comparable(answer["candidates"]),
            "trained": answer["trained"],
            "lines": sorted(lines),
            "statuses": {k: run.info.status for k, run in runs_of(tmp_path / name).items()},
        }
    first, *others = found.values()
    assert len(first["stored"]) == 3
    assert {row["status"] for row in first["candidates"]} == {"finished", "skipped"}
    for other in others:
        assert other == first


def test_an_unknown_executor_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        ExecutorError, match=r"the executors are ray, inline; did you mean inline\?"
    ):
        open_executor("inlin")


# In this process


@pytest.mark.slow
def test_inline_needs_no_ray(tmp_path: Path) -> None:
    program = (sys.executable, "-c", NO_RAY)
    process = start(
        tmp_path, {**SPEC, "loss_weights": [{}]}, "--executor", "inline", program=program
    )
    code, answer, log = ended(process)
    assert code == 0, log
    assert answer["trained"] == 3
    code, answer, _ = ended(start(tmp_path, {**SPEC, "loss_weights": [{}]}, "--executor", "inline"))
    assert (code, answer["trained"], answer["reused"]) == (0, 0, 3)
    left = [str(path) for path in tmp_path.glob("[clo]*/*") if not path.is_dir()]
    assert left == [], "checkpoints or leases of finished stages remain"


@pytest.mark.cluster
def test_an_interrupted_sweep_leaves_no_run_that_looks_alive(tmp_path: Path) -> None:
    """Ray Tune takes Ctrl-C for itself."""
    long = {**SPEC, "loss_weights": [{}], "training": {"epochs": 3000, "batch_size": 8}}
    process = start(tmp_path, long, "--executor", "ray")
    wait_for(lambda: bool(checkpoints(tmp_path)), seconds=120)
    assert listening(process.pid) <= {"127.0.0.1", "::ffff:127.0.0.1"}, "open to the network"
    process.send_signal(signal.SIGINT)
    code, _, log = ended(process)
    assert code == 130, log
    assert "the same command goes on from here" in log
    statuses = {key: run.info.status for key, run in runs_of(tmp_path).items()}
    assert set(statuses.values()) == {"KILLED"}, statuses


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path, how: signal.Signals) -> None:
    long = {**SPEC, "loss_weights": [{}], "training": {"epochs": 24, "batch_size": 32}}
    long["resources"] = {**SPEC["resources"], "checkpoint_every": 4}
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    code, answer, log = ended(start(calm, long, "--executor", "inline"))
    assert code == 0, log
    [student] = [row["stage_key"] for row in answer["candidates"]]
    process = start(rough, long, "--executor", "inline")
    # In the second stage: the first one's checkpoint is there for a moment after it is stored.
    wait_for(lambda: len(stored(rough)) == 1 and bool(checkpoints(rough) - stored(rough).keys()))
    process.send_signal(how)
    code, _, log = ended(process)
    running = [key for key in runs_of(rough) if key not in {*stored(rough), "the sweep"}]
    statuses = {runs_of(rough)[key].info.status for key in running}
    if how == signal.SIGINT:
        assert code == 130, log
        assert "goes on from here" in log
        assert statuses == {"KILLED"}
        assert runs_of(rough)["the sweep"].info.status == "KILLED"
    else:
        assert statuses == {"RUNNING"}
    code, again, log = ended(start(rough, long, "--executor", "inline"))
    assert code == 0, log
    assert again["reused"] >= 1
    assert comparable(again["candidates"]) == comparable(answer["candidates"])
    assert stored(rough) == stored(calm)
    runs = runs_of(rough)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{rough}/mlflow.db")
    steps = [p.step for p in client.get_metric_history(runs[student].info.run_id, "epoch")]
    assert sorted(steps) == list(range(1, 25)), "an epoch is missing or logged twice"


def listening(pid: int) -> set[str]:
    """The addresses at which a process or a descendant of it listens."""
    found = set()
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found |= {
                connection.laddr.ip
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
    assert found
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_what_fails_by_itself_is_tried_again_and_then_said(tmp_path: Path) -> None:
    """A store that cannot be written any more is no fault of the stages."""
    spec = {**SPEC, "loss_weights": [{}], "resources": {"retries": 1}}
    program = (sys.executable, "-c", BROKEN_STORE)
    code, answer, log = ended(start(tmp_path, spec, "--executor", "inline", program=program))
    assert code == 1, log
    assert log.count("trying again (OSError: the disk is full)") == 1
    (row,) = answer["candidates"]
    assert row["status"] == "skipped"
    assert row["reason"] == "digits 0 teacher failed: OSError: the disk is full"


BROKEN_STORE = """
import sys
from orchestrator.store import open_store
from orchestrator.store.stages import Store
def full(*arguments):
    raise OSError("the disk is full")
Store.write = full
sys.argv[0] = "kd"
from orchestrator.cli import app
app()
"""


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"workers": 2}, "resources.workers is 2, but the inline executor trains in one process"),
        ({"gpus_per_worker": 1}, "resources.gpus_per_worker is 1, but PyTorch finds no GPU here"),
    ],
)
def test_what_one_process_cannot_do_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: dict[str, int], said: str
) -> None:
    from orchestrator.planning.spec import SweepSpec

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spec = SweepSpec.model_validate({**SPEC, "resources": resources})
    with pytest.raises(ExecutorError, match=said):
        open_executor("inline").concurrent_packs(spec, print)


def test_inline_has_no_address() -> None:
    with pytest.raises(ExecutorError, match=r"it has no address 127\.0\.0\.1:1"):
        open_executor("inline", "127.0.0.1:1")
