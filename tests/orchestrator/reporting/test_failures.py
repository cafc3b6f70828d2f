"""What failed, as far as somebody who was not there can tell."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kd_models.training.state import TrainingState
from orchestrator.planning.plan import Plan
from orchestrator.reporting.failures import failures
from orchestrator.reporting.results import collect
from orchestrator.running.checkpoints import Checkpoint, Checkpoints
from orchestrator.store import open_objects, open_store
from orchestrator.store.stages import Store


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(structures=["p-kdgan-23", "alone"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(open_objects(str(tmp_path / "home")))


def test_nothing_is_known_of_a_sweep_that_never_ran(
    plan: Plan, store: Store, checkpoints: Checkpoints
) -> None:
    assert failures(plan, store, checkpoints) == ({}, {})


def test_what_diverged_and_what_needs_it_are_told(
    plan: Plan, store: Store, checkpoints: Checkpoints
) -> None:
    taught, alone = plan.candidates
    checkpoints.save_diverged(taught.stages[1], "Diverged: no number")
    checkpoints.save_diverged(alone.key, "Diverged: alone")
    failed, skipped = failures(plan, store, checkpoints)
    assert failed == {taught.stages[1]: "Diverged: no number", alone.key: "Diverged: alone"}
    assert skipped == {taught.key: taught.stages[1]}
    first, second = collect(plan, store, failed, skipped)
    assert (first.status, second.status) == ("skipped", "failed")
    assert first.reason.endswith("kdgan-2 failed: Diverged: no number")


def test_what_was_finished_since_has_not_failed(
    plan: Plan, store: Store, checkpoints: Checkpoints, put: Callable[..., None]
) -> None:
    taught, alone = plan.candidates
    for key in (taught.stages[1], alone.key):
        checkpoints.save_diverged(key, "Diverged: then")
    put(store, plan.stages[alone.key], [1.0, 2.0], [3.0, 4.0])
    put(store, plan.stages[taught.key], [1.0, 2.0], [3.0, 4.0])
    failed, skipped = failures(plan, store, checkpoints)
    assert failed == {taught.stages[1]: "Diverged: then"}
    assert skipped == {}


def test_a_stage_that_goes_on_or_whose_checkpoint_is_damaged_has_not_failed(
    plan: Plan, store: Store, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    taught, alone = plan.candidates
    checkpoints.save(alone.key, Checkpoint(TrainingState(1, {}, []), [], 1))
    checkpoints.save_diverged(taught.key, "Diverged: no number")
    (path,) = (tmp_path / "home").rglob(taught.key)
    path.write_bytes(b"[1]\n?")
    assert failures(plan, store, checkpoints) == ({}, {})
