"""The stack of this machine: sweeps on a cluster whose machines share nothing but the network."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient

from infra.local.ray_nodes import start_worker
from infra.local.services import Service
from infra.local.stack import BUCKET, Stack
from orchestrator.store import open_objects, open_store
from orchestrator.store.objects import Objects
from orchestrator.store.record import HISTORY

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ROUNDS = int(os.environ.get("KD_TEST_ROUNDS", "1"))

SPEC: dict[str, Any] = {
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["kdgan-2"],
    "student_widths": [[1, 2, 4], [2, 4, 8]],
    "teacher": {"widths": [4, 8, 16]},
    "training": {"epochs": 60, "batch_size": 32},
    "evaluation": {"every": 30},
    "resources": {"checkpoint_every": 10, "lanes": 1},
}


@dataclass
class Cluster:
    """A stack that runs, and how a user reaches it."""

    stack: Stack
    folder: Path
    joined: list[Service] = field(default_factory=list)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.stack.environment()}

    @property
    def objects(self) -> Objects:
        return open_objects(self.stack.environment()["KD_HOME"])

    def submit(
        self, spec: Mapping[str, Any], log: str = "", job: str = ""
    ) -> "subprocess.Popen[str]":
        """Submit a sweep as a Ray job, from a copy of the project that holds its file.

        What it tells goes to ``log``, by default named after the sweep; ``job`` is the job's name.
        """
        project = self.folder / "project"
        for room in ("orchestrator", "kd_models", "jobs"):
            shutil.copytree(
                ROOT / room,
                project / room,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("*.pyc"),
            )
        file = project / f"{spec['name']}.yaml"
        file.write_text(yaml.safe_dump(dict(spec)))
        submit = [str(BIN / "ray"), "job", "submit", "--working-dir", str(project)]
        submit += ["--submission-id", job] if job else []
        with (self.folder / f"{log or spec['name']}.log").open("w") as output:
            return subprocess.Popen(
                [*submit, "--", "python", "jobs/sweep.py", file.name],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def kd(self, *arguments: str) -> Any:
        """Run ``kd`` in a process that sees no folder of a sweep."""
        home = self.folder / "elsewhere"
        home.mkdir(exist_ok=True)
        ended = subprocess.run(
            [str(BIN / "kd"), *arguments, "--json"],
            env={**self.environment, "HOME": str(home)},
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def check_runs(self, name: str, stages: int) -> None:
        client = MlflowClient(self.stack.environment()["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        keys = [run.data.tags.get("stage_key", "the sweep") for run in runs]
        assert len(keys) == len(set(keys)) == stages + 1, "a stage has two runs"
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            steps = [p.step for p in client.get_metric_history(run.info.run_id, "epoch")]
            assert sorted(steps) == list(range(1, len(steps) + 1)), "an epoch is missing or doubled"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # PostgreSQL, where root starts it, runs as a user who cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="kd-stack-"))
    folder.chmod(0o711)
    running = Cluster(Stack(folder / "stack"), folder)
    lines: list[str] = []
    running.stack.up(lines.append)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running.stack.environment().items():
            patch.setenv(name, value)
        yield running
    services = [*running.stack.services(), *running.joined]
    for node in running.joined:
        node.stop()
    running.stack.down(lines.append)
    assert not any(service.is_running() for service in services)
    left = [p.cmdline() for p in psutil.process_iter() if str(folder) in " ".join(_command(p))]
    assert not left
    shutil.rmtree(folder)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_it_listens_on_loopback_alone(cluster: Cluster) -> None:
    services = {service.pid for service in cluster.stack.services()}
    own = services | {process.pid for process in descendants(cluster)}
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in own
    }
    assert listening == {"127.0.0.1"}


def test_its_credentials_are_its_owners_alone(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.stack.credentials.stat().st_mode) == 0o600
    secrets = [
        value
        for name, value in cluster.stack.environment().items()
        if name.endswith(("KEY", "TOKEN", "PASSWORD"))
    ]
    assert len(secrets) == 3
    for process in psutil.process_iter():
        assert not any(secret in " ".join(_command(process)) for secret in secrets)


def test_a_students_way_from_the_job_to_the_download(cluster: Cluster) -> None:
    spec = {**SPEC, "name": "whole", "training": {"epochs": 2, "batch_size": 32}}
    assert cluster.submit(spec).wait(300) == 0, cluster.log("whole")
    cluster.check_runs("whole", stages=3)
    assert len(list(cluster.objects.names("store/stages/"))) == 3
    everything = open_objects(f"s3://{BUCKET}")
    assert any(name.endswith("model.safetensors") for name in everything.names("mlflow/"))
    chosen = cluster.kd("choose", "whole", "--register")
    (champion,) = chosen["champions"]
    answer = cluster.kd("download", champion["model"], str(cluster.folder / "package"))
    assert {"README.md", "config.json", "model.onnx", "model.safetensors"} < {*answer["files"]}


@pytest.mark.timeout(600 * ROUNDS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_a_node_that_is_killed_and_one_that_joins_change_nothing(
    cluster: Cluster, turn: int
) -> None:
    name = f"nodes-{turn}"
    spec = {**SPEC, "name": name, "seeds": [turn + 1]}
    process = cluster.submit(spec)
    wait_for(lambda: any(cluster.objects.names("checkpoints/")), process, cluster, name)
    trains_on(cluster).kill()
    environment = cluster.stack.environment()
    options = ("--num-cpus=1", "--object-store-memory=100000000")
    cluster.joined.append(
        start_worker(
            cluster.stack.folder, f"later-{turn}", environment["RAY_ADDRESS"], environment, options
        )
    )
    assert process.wait(500) == 0, cluster.log(name)
    assert "trying again (" in cluster.log(name)
    assert "3 stages trained, 0 reused" in cluster.log(name)
    cluster.check_runs(name, stages=3)
    assert not list(cluster.objects.names("checkpoints/"))


@pytest.mark.long
@pytest.mark.parametrize("begun", ["at once", "in mid-stage"])
def test_two_sweeps_train_every_stage_once(cluster: Cluster, begun: str) -> None:
    late = begun == "in mid-stage"
    name = "late" if late else "twins"
    spec = {**SPEC, "name": name, "seeds": [20 if late else 21]}
    first = cluster.submit(spec, f"{name}-1")
    if late:
        wait_for(lambda: any(cluster.objects.names("checkpoints/")), first, cluster, f"{name}-1")
    second = cluster.submit(spec, f"{name}-2")
    assert first.wait(400) == 0, cluster.log(f"{name}-1")
    assert second.wait(400) == 0, cluster.log(f"{name}-2")
    logs = [cluster.log(f"{name}-{number}") for number in (1, 2)]
    trained = [int(re.findall(r"(\d+) stages trained", log)[-1]) for log in logs]
    assert sum(trained) == 3, logs
    assert any("waiting for process" in log for log in logs), logs
    cluster.check_runs(name, stages=3)


@pytest.mark.long
def test_a_pack_goes_on_with_other_lanes_on_other_nodes(cluster: Cluster) -> None:
    spec = {**SPEC, "name": "repacked", "structures": ["alone"], "seeds": [0, 1, 2, 3]}
    spec = {**spec, "student_widths": [[1, 2, 4]]}
    resources = {"checkpoint_every": 10, "lanes": 4, "concurrent_trials": 1}
    process = cluster.submit({**spec, "resources": resources}, job="first-half")
    wait_for(lambda: len(kept(cluster)) == 4, process, cluster, "repacked")
    stop = [str(BIN / "ray"), "job", "stop", "first-half"]
    assert subprocess.run(stop, env=cluster.environment).returncode == 0
    process.wait(60)
    before = kept(cluster)
    assert len(before) == 4
    node = next(node for node in reversed(workers(cluster)) if node.is_running())
    node.kill()
    resources = {"checkpoint_every": 10, "lanes": 1}
    process = cluster.submit({**spec, "resources": resources}, "repacked-2")
    assert process.wait(500) == 0, cluster.log("repacked-2")
    assert "4 stages trained, 0 reused" in cluster.log("repacked-2")
    store = open_store(f"{cluster.stack.environment()['KD_HOME']}/store")
    for key, rows in before.items():
        history = json.loads(store.read(key, HISTORY))
        assert len(history) == 60
        # Their seconds too: these epochs were not trained again.
        assert history[: len(rows)] == rows
    cluster.check_runs("repacked", stages=4)


@pytest.mark.long
def test_a_progress_actor_that_dies_is_missed_by_nobody(cluster: Cluster) -> None:
    process = cluster.submit({**SPEC, "name": "progress", "seeds": [30]})
    wait_for(lambda: any(cluster.objects.names("checkpoints/")), process, cluster, "progress")
    actors = [p for p in descendants(cluster) if "ray::ProgressActor" in " ".join(_command(p))]
    assert actors
    for actor in actors:
        actor.kill()
    assert process.wait(250) == 0, cluster.log("progress")
    assert "3 stages trained, 0 reused" in cluster.log("progress")
    cluster.check_runs("progress", stages=3)


def kept(cluster: Cluster) -> dict[str, list[dict[str, float]]]:
    """Return the epochs that checkpoints hold, by stage key."""
    names = list(cluster.objects.names("checkpoints/"))
    headers = [cluster.objects.get(name).partition(b"\n")[0] for name in names]
    return {
        name.rpartition("/")[2]: json.loads(header)["history"]
        for name, header in zip(names, headers, strict=True)
    }


def trains_on(cluster: Cluster) -> Service:
    """Return a node that trains."""
    for node in workers(cluster):
        if node.is_running():
            family = psutil.Process(node.pid).children(recursive=True)
            if any("RayTrainWorker" in " ".join(_command(process)) for process in family):
                return node
    raise AssertionError("nothing trains anywhere")


def descendants(cluster: Cluster) -> list[psutil.Process]:
    """Return what the cluster's own services have started: others may run on this machine."""
    services = [*cluster.stack.services(), *cluster.joined]
    return [
        child
        for service in services
        if service.is_running()
        for child in psutil.Process(service.pid).children(recursive=True)
    ]


def workers(cluster: Cluster) -> list[Service]:
    started = [s for s in cluster.stack.services() if "worker" in s.name]
    return [*cluster.joined, *started]


def wait_for(
    is_there: Callable[[], bool], process: "subprocess.Popen[str]", cluster: Cluster, name: str
) -> None:
    deadline = time.monotonic() + 240
    while not is_there():
        assert process.poll() is None, cluster.log(name)
        assert time.monotonic() < deadline, cluster.log(name)
        time.sleep(0.1)
