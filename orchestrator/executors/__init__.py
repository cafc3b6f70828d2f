"""Where packs run: the seam, this process, and a Ray cluster."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

from kd_models.values import look_up
from orchestrator.executors.base import Executor, ExecutorError


def open_executor(name: str, address: str | None = None) -> Executor:
    """Return an executor by name.

    Args:
        name: a key of :data:`EXECUTORS`.
        address: of the Ray cluster, for executors that have one.

    Raises:
        ExecutorError: there is no executor of that name, or it has no address.
    """
    try:
        return look_up(name, EXECUTORS, "executor")(address)
    except ValueError as error:
        raise ExecutorError(str(error)) from None


def _inline(address: str | None) -> Executor:
    from orchestrator.executors.inline import InlineExecutor

    if address:
        raise ValueError(f"the inline executor runs in this process: it has no address {address}")
    return InlineExecutor()


def _ray(address: str | None) -> Executor:
    from orchestrator.executors.ray_tune import environment

    if not (address or os.environ.get("RAY_ADDRESS")):
        environment.prepare()  # before Ray is imported
    from orchestrator.executors.ray_tune.executor import RayTuneExecutor

    return RayTuneExecutor(address)


EXECUTORS: Mapping[str, Callable[[str | None], Executor]] = MappingProxyType(
    {"ray": _ray, "inline": _inline}
)
"""How each executor is opened, given a cluster's address; the first is the default."""
