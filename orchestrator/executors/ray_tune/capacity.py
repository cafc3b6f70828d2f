"""How many trials a cluster's CPUs, GPUs and memory hold."""

from collections.abc import Mapping

import ray

from orchestrator.executors.base import ExecutorError
from orchestrator.executors.ray_tune.trial import TRIAL_RESOURCES, worker_resources
from orchestrator.planning.spec import Resources


def concurrent_trials(resources: Resources) -> int:
    """Return how many trials the cluster runs at once.

    Raises:
        ExecutorError: not even one fits; said at once, since Ray would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def check(who: str, needed: int, each: Mapping[str, float], remedy: str) -> int:
        """Return how many times the cluster holds what must fit ``needed`` times."""
        room = sum(
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items())
            for node in nodes
        )
        if room < needed:
            has = ", ".join(_amount(name, sum(n.get(name, 0) for n in nodes)) for name in each)
            needs = " and ".join(_amount(name, amount) for name, amount in each.items())
            raise ExecutorError(
                f"a trial needs {who} {needs}, but the cluster ({len(nodes)} nodes, "
                f"{has}) holds {room}; {remedy}, or use a larger cluster"
            )
        return room // needed

    fitting = min(
        check(
            f"{resources.workers} workers, each with",
            resources.workers,
            worker_resources(resources),
            "lower resources.workers, resources.gpus_per_worker or resources.cpus_per_worker",
        ),
        check("for itself", 1, TRIAL_RESOURCES, "start Ray with more (ray start --memory=BYTES)"),
    )
    if resources.concurrent_trials != "auto":
        fitting = min(fitting, resources.concurrent_trials)
    return fitting


def _amount(resource: str, amount: float) -> str:
    if resource == "memory":
        return f"{amount / 1e6:,.0f} MB of memory"
    return f"{amount:g} {resource}s"
