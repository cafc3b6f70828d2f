"""How many trials a cluster's CPUs, GPUs and memory hold, now and when it has grown."""

import sys
import time
from collections.abc import Iterable, Mapping

import ray
from ray._private.state import available_resources_per_node, state
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from orchestrator.console import Say
from orchestrator.executors.base import ExecutorError
from orchestrator.executors.ray_tune.trial import TRIAL_RESOURCES, worker_resources
from orchestrator.planning.spec import Resources

_LOOKED_AT_EVERY = 2.0
"""seconds"""
_MINUTES = 15.0
"""that a cluster is waited for that says how far it may grow"""
_MOST_ASKED = 100
"""trials at a time beyond those that there is room for"""

Node = Mapping[str, float]
"""resources by name"""


class Capacity:
    """How many trials of a sweep the cluster runs at once.

    Args:
        resources: of each trial.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._asked: list[PlacementGroup] = []

    def now(self) -> int:
        """Return how many trials the nodes that are there hold."""
        return self._at_most(self._trials_in(_alive()))

    def most(self) -> int:
        """Return how many the cluster holds when it has grown as far as it is known to.

        Where Ray does not know how far that is, a given ``resources.concurrent_trials`` says so.
        """
        grown, wanted = self._grown() // self._resources.workers, self._resources.concurrent_trials
        if not grown and self._minutes and wanted != "auto":
            return wanted
        return max(self.now(), self._at_most(grown))

    def ask_for(self, trials: int) -> None:
        """Ask the cluster to grow until it holds so many trials, or to shrink; a hint.

        Each trial is asked for by a placement group of its own: of a request for all at once that
        is more than there may ever be, Ray's autoscaler fulfils nothing. They end with this
        process, however that ends.
        """
        missing = self._missing(trials)
        # One that has its place would keep a trial from it.
        waiting = [group for group in self._asked if not _is_placed(group)]
        kept = waiting[:missing]
        for group in self._asked:
            if group not in kept:
                remove_placement_group(group)
        bundles = [TRIAL_RESOURCES, *[worker_resources(self._resources)] * self._resources.workers]
        self._asked = kept + [placement_group(bundles) for _ in range(missing - len(kept))]

    def _missing(self, trials: int) -> int:
        """Return how many trials to ask for: those that there is no room for, in use or not."""
        if not self._minutes:
            return 0
        missing = self._at_most(trials) - self.now()
        if missing > 0:
            missing -= self._trials_in(available_resources_per_node().values())
        return max(0, min(missing, _MOST_ASKED))

    def check(self) -> int:
        """Return how many trials the cluster holds now; 0 if none, and it may grow.

        Raises:
            ExecutorError: it holds none and cannot grow, where Ray would wait for ever.
        """
        now = self.now()
        if not (now or self._minutes):
            self._refuse()
        return now

    def wait(self, say: Say) -> None:
        """Wait until the cluster holds a trial, if it may grow.

        Raises:
            ExecutorError: it does not, or not in time.
        """
        if self.check():
            return
        say(
            f"waiting for the cluster to grow, for {self._minutes:g} minutes at most "
            f"(resources.scale_up_minutes): it has {len(_alive())} nodes, and a trial needs "
            f"{self._needs}"
        )
        deadline = time.monotonic() + 60 * self._minutes
        while not self.now():
            self.ask_for(1)
            if time.monotonic() > deadline:
                raise ExecutorError(
                    f"the cluster has not grown enough for a trial in {self._minutes:g} minutes "
                    f"(it needs {self._needs}); `ray status` says why, and "
                    "resources.scale_up_minutes gives it more time"
                )
            time.sleep(_LOOKED_AT_EVERY)
        self.ask_for(0)

    def _trials_in(self, nodes: Iterable[Node]) -> int:
        """Return how many trials have room in these amounts."""
        nodes = list(nodes)
        for_workers = _room(nodes, worker_resources(self._resources)) // self._resources.workers
        return min(for_workers, _room(nodes, TRIAL_RESOURCES))

    def _at_most(self, trials: int) -> int:
        wanted = self._resources.concurrent_trials
        return trials if wanted == "auto" else min(trials, wanted)

    @property
    def _minutes(self) -> float:
        """Return how long the cluster is waited for to grow; 0 where it does not."""
        if self._resources.scale_up_minutes is not None:
            return self._resources.scale_up_minutes
        return _MINUTES if self._grown() >= self._resources.workers else 0

    def _grown(self) -> int:
        """Return how many workers the nodes hold that the cluster's autoscaler may have at most."""
        config = state.get_cluster_config()
        if config is None:
            return 0
        each, workers = worker_resources(self._resources), 0
        for group in config.node_group_configs:
            fitting = _room([dict(group.resources)], each)
            workers += fitting * (group.max_count if group.max_count >= 0 else sys.maxsize)
        return min(workers, sys.maxsize)

    @property
    def _needs(self) -> str:
        """Say what a trial needs."""
        each = worker_resources(self._resources)
        return f"{self._resources.workers} workers with {_words(each)} each"

    def _refuse(self) -> None:
        nodes, resources = _alive(), self._resources
        each = worker_resources(resources)
        checks = (
            (
                f"{resources.workers} workers, each with",
                resources.workers,
                each,
                "lower resources.workers, resources.gpus_per_worker or resources.cpus_per_worker",
            ),
            ("for itself", 1, TRIAL_RESOURCES, "start Ray with more (ray start --memory=BYTES)"),
        )
        for who, needed, amounts, remedy in checks:
            if (room := _room(nodes, amounts)) < needed:
                has = _words({name: sum(n.get(name, 0) for n in nodes) for name in amounts}, ", ")
                raise ExecutorError(
                    f"a trial needs {who} {_words(amounts)}, but the cluster ({len(nodes)} nodes, "
                    f"{has}) holds {room}; {remedy}, or use a larger cluster"
                )


def _is_placed(group: PlacementGroup) -> bool:
    return bool(placement_group_table(group)["state"] == "CREATED")


def _alive() -> list[Node]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _room(nodes: Iterable[Node], each: Node) -> int:
    """Return how many times the nodes hold ``each``, which lies on one node."""
    return sum(
        min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items())
        for node in nodes
    )


def _words(amounts: Node, between: str = " and ") -> str:
    return between.join(
        f"{amount / 1e6:,.0f} MB of memory" if name == "memory" else f"{amount:g} {name}s"
        for name, amount in amounts.items()
    )
