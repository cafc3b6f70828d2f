"""A whole sweep in this process: real trainings, a real MLflow database, and no Ray."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.executors.inline import InlineExecutor
from orchestrator.planning.spec import SweepSpec
from orchestrator.sweep import Outcome, run_sweep
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs import Tracker

pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated")


class Display:
    """Shows nothing."""

    def refresh(self, progress: Any) -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def spec(spec_of: Callable[..., SweepSpec], empty_database: Path, tmp_path: Path) -> SweepSpec:
    shutil.copy(empty_database, tmp_path)
    return spec_of(storage={"root": str(tmp_path)}, structures=["kdgan-2", "p-kdgan-23"])


def sweep(spec: SweepSpec) -> Outcome:
    return run_sweep(spec, InlineExecutor(), Display, lambda line: None)


def statuses(spec: SweepSpec) -> dict[str, str]:
    """MLflow's statuses of the runs, by step; of the sweep's own under its name."""
    client = connect(spec.storage.mlflow_uri)
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("step", spec.name): run.info.status for run in runs}


def test_a_sweep_trains_logs_and_finds_all_of_it_again(spec: SweepSpec) -> None:
    first = sweep(spec)
    assert (first.succeeded, first.trained, first.reused) == (True, 3, 0)
    assert [r.candidate.axes["structure"] for r in first.results] == ["kdgan-2", "p-kdgan-23"]
    assert set(statuses(spec).values()) == {"FINISHED"}
    again = sweep(spec)
    assert (again.succeeded, again.trained, again.reused) == (True, 0, 3)
    assert [r.evaluation for r in again.results] == [r.evaluation for r in first.results]


@pytest.mark.parametrize("place", ["start_sweep", "finish_sweep"])
def test_a_sweep_interrupted_while_it_logs_leaves_no_run_that_looks_alive(
    spec: SweepSpec, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    owner = Tracker if place == "start_sweep" else BackgroundTracker
    with monkeypatch.context() as context:
        context.setattr(owner, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(spec)
    found = statuses(spec)
    assert found.pop(spec.name) == "KILLED"
    assert set(found.values()) == (set() if place == "start_sweep" else {"FINISHED"})
    assert sweep(spec).succeeded
    assert set(statuses(spec).values()) == {"FINISHED"}
