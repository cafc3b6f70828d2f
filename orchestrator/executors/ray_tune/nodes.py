"""A question to every node of a Ray cluster."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.executors.base import Reply, T, last_line_of

_SECONDS = 120.0
"""for all answers, of which most is the start of a process that imports torch"""


def ask_nodes(question: Callable[[str, Path], T]) -> list[Reply[T]]:
    """Return what every living node answers, each in a process of its own.

    Args:
        question: is called there with the node's name and the folder that Ray spills to.
    """

    # It takes no resources: also of the head, where no trial runs but the sweep itself may.
    @ray.remote(num_cpus=0, max_retries=0)
    def answer(name: str) -> T:
        node: Any = ray._private.worker._global_node
        return question(name, Path(node.get_session_dir_path()))

    deadline = time.monotonic() + _SECONDS
    nodes = sorted(
        (node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeName"])
    )
    asked = {
        node["NodeID"]: (
            time.time(),
            answer.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(name_of(node)),
        )
        for node in nodes
    }
    return [
        _reply(node, *asked[node["NodeID"]], seconds=deadline - time.monotonic()) for node in nodes
    ]


def name_of(node: dict[str, Any]) -> str:
    """Return a node's name for people: its own, if it was given one, and its address."""
    address, name = str(node["NodeManagerAddress"]), str(node["NodeName"])
    return name if name == address else f"{name} ({address})"


def _reply(node: dict[str, Any], asked: float, reference: Any, seconds: float) -> Reply[T]:
    answer, problem = None, ""
    try:
        answer = ray.get(reference, timeout=max(seconds, 1))
    except ray.exceptions.GetTimeoutError:
        problem = f"no process answers there within {_SECONDS:.0f} s"
    except ray.exceptions.RayError as error:
        problem = last_line_of(error)
    return Reply(name_of(node), node["Resources"], answer, problem, asked, time.time())
