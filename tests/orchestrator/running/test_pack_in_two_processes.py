"""A pack in which something is wrong in one of two processes. ddp_workers.py runs it."""

from collections.abc import Callable
from typing import Any

import pytest

Measured = dict[str, Any]


@pytest.fixture(scope="module")
def measured(two_workers: Callable[[str], dict[str, Measured]]) -> dict[str, Measured]:
    """What one process makes of it ``alone``, and each of two, ``rank0`` and ``rank1``."""
    return two_workers("orchestrator/running/ddp_workers.py")


@pytest.mark.parametrize("hook", ["prepare", "calibrate"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_learner_that_one_process_cannot_train_fails_alone_in_both(
    measured: dict[str, Measured], hook: str, lanes: int
) -> None:
    reason = "CannotTrain: the covariance has no inverse"
    elsewhere = "CannotTrain: in another worker: the covariance has no inverse"
    for name, expected in (("alone", reason), ("rank0", elsewhere), ("rank1", reason)):
        found = measured[name][f"{hook}/{lanes}"]
        assert list(found["failures"].values()) == [expected], name
        assert found["stored"] == [True, False, True], name


def test_process_0_decides_what_is_left_to_train(measured: dict[str, Measured]) -> None:
    for name, found in measured.items():
        assert found["seen by one alone"]["failures"] == {}, name
    assert measured["rank0"]["seen by one alone"]["stored"] == [True, True, True]
    assert measured["rank1"]["seen by one alone"]["stored"] == [True, False, False]
