"""Nothing is lost when a worker or the whole machine dies."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

pytestmark = [
    pytest.mark.cluster,
    # Left by SQLAlchemy's pool when a client is dropped, here and there.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

EPOCHS = 60
SPEC: dict[str, Any] = {
    "name": "survival",
    "datasets": ["digits"],
    "baselines": [],
    "scores": ["paper"],
    "normal_classes": [0],
    "structures": ["kdgan-2"],
    "teacher": {"widths": [4, 8, 16]},
    "training": {"epochs": EPOCHS, "batch_size": 32},
    "evaluation": {"every": EPOCHS // 2},
    "resources": {"workers": 2, "checkpoint_every": 10, "concurrent_trials": 1},
}


@pytest.mark.timeout(900)
def test_killed_worker_and_killed_machine_change_nothing(home_with: Callable[..., Any]) -> None:
    calm = home_with("calm", SPEC)
    undisturbed = calm.run()
    assert undisturbed.code == 0, undisturbed.log
    assert undisturbed.answer["trained"] == 2
    [student] = [row["stage_key"] for row in undisturbed.answer["candidates"]]
    [teacher] = set(calm.stored()) - {student}
    left = [str(path) for path in calm.path.glob("[clo]*/*/*") if not path.is_dir()]
    assert left == [], "checkpoints or leases of finished stages remain"

    rough = home_with("rough", SPEC)
    process = rough.start()
    family = psutil.Process(process.pid)
    # A worker dies in mid-stage: the trial goes on from its last checkpoint by itself.
    _wait(lambda: len(rough.checkpoints(teacher)) > 0, process, rough)
    _train_workers(family)[0].kill()
    # The machine dies in the next stage, at once: workers that outlive their driver may end it.
    _wait(lambda: len(rough.checkpoints(student)) > 0, process, rough)
    assert set(rough.stored()) == {teacher}
    everything = [family, *family.children(recursive=True)]
    for one in everything:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    psutil.wait_procs(everything, timeout=60)
    assert student not in rough.stored()
    killed_at = time.time()

    again = rough.run()
    assert again.code == 0, again.log
    assert (again.answer["trained"], again.answer["reused"]) == (1, 1)
    assert rough.stored() == calm.stored()
    assert _trained_to(again) == _trained_to(undisturbed)
    _check_runs(rough.database, {teacher, student})
    # It went on from the checkpoint: the first epochs are those logged before the kill.
    first = _history(rough.database, student, "auroc")[0]
    assert _history(rough.database, student, "epoch")[0].timestamp / 1000 < killed_at
    assert first.step == EPOCHS // 2

    nothing_to_do = rough.run()
    assert nothing_to_do.code == 0, nothing_to_do.log
    assert (nothing_to_do.answer["trained"], nothing_to_do.answer["reused"]) == (0, 2)
    assert _trained_to(nothing_to_do) == _trained_to(undisturbed)
    _check_runs(rough.database, {teacher, student})


def _trained_to(finished: Any) -> list[dict[str, Any]]:
    """What the candidates came to; latency is measured anew by every run."""
    rows = finished.answer["candidates"]
    return [{k: v for k, v in row.items() if "latency" not in k} for row in rows]


def _wait(condition: Callable[[], bool], process: Any, home: Any) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, home.log.read_text()
        assert time.monotonic() < deadline, home.log.read_text()
        time.sleep(0.05)


def _train_workers(family: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in family.children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RayTrainWorker"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    assert len(found) == 2, found
    return found


def _runs(uri: str) -> dict[str, str]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(SPEC["name"])
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert all(run.info.status == "FINISHED" for run in runs)
    keys = [run.data.tags.get("stage_key", "the sweep") for run in runs]
    assert len(keys) == len(set(keys)), "a stage has two runs"
    return {key: run.info.run_id for key, run in zip(keys, runs, strict=True)}


def _history(uri: str, key: str, metric: str) -> list[Any]:
    history = MlflowClient(uri).get_metric_history(_runs(uri)[key], metric)
    return sorted(history, key=lambda point: point.step)


def _check_runs(uri: str, keys: set[str]) -> None:
    assert set(_runs(uri)) == keys | {"the sweep"}
    for key in keys:
        steps = [point.step for point in _history(uri, key, "epoch")]
        assert steps == list(range(1, EPOCHS + 1)), "an epoch is missing or logged twice"
