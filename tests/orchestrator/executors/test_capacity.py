"""How many trials are asked for, of a cluster that is told by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.executors.base import ExecutorError
from orchestrator.executors.ray_tune import capacity
from orchestrator.executors.ray_tune.capacity import Capacity
from orchestrator.planning.spec import Resources

MEMORY = 4e9


@dataclass(eq=False)
class Group:
    """A placement group."""

    bundles: list[dict[str, float]]
    state: str = "PENDING"


class Cluster:
    """Nodes of one GPU each, and the placement groups that are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nodes: int) -> None:
        self.nodes, self.in_use = nodes, 0
        self.groups: list[Group] = []
        monkeypatch.setattr(capacity, "_alive", lambda: [self.node(1)] * self.nodes)
        monkeypatch.setattr(capacity, "available_resources_per_node", self.available)
        monkeypatch.setattr(capacity, "placement_group", self.ask)
        monkeypatch.setattr(capacity, "remove_placement_group", self.groups.remove)
        monkeypatch.setattr(capacity, "placement_group_table", lambda group: vars(group))
        monkeypatch.setattr(Capacity, "_grown", lambda self: 0)

    @staticmethod
    def node(gpus: float) -> dict[str, float]:
        return {"CPU": 4 * gpus, "GPU": gpus, "memory": MEMORY}

    @property
    def placed(self) -> list[Group]:
        return [group for group in self.groups if group.state == "CREATED"]

    def available(self) -> dict[str, dict[str, float]]:
        free = self.nodes - self.in_use - len(self.placed)
        return {str(number): self.node(1 if number < free else 0) for number in range(self.nodes)}

    def ask(self, bundles: list[dict[str, float]]) -> Group:
        self.groups.append(Group(bundles))
        return self.groups[-1]

    def grow(self) -> None:
        """A node joins, and one of the groups gets its place there."""
        self.nodes += 1
        self.groups[len(self.placed)].state = "CREATED"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    return lambda nodes: Cluster(monkeypatch, nodes)


def resources(**changes: Any) -> Resources:
    settings = {"gpus_per_worker": 1, "scale_up_minutes": 5, **changes}
    return Resources.model_validate(settings)


def test_as_many_are_asked_for_as_there_is_no_room_for(cluster: Callable[..., Cluster]) -> None:
    there = cluster(2)
    there.in_use = 2
    Capacity(resources()).ask_for(5)
    assert len(there.groups) == 3
    assert there.groups[0].bundles == [{"memory": 500e6}, {"CPU": 1, "GPU": 1}]


def test_what_has_its_place_gives_it_up_although_more_is_wanted(
    cluster: Callable[..., Cluster],
) -> None:
    there = cluster(1)
    there.in_use = 1
    capacity = Capacity(resources())
    capacity.ask_for(100)
    assert len(there.groups) == 99
    for _ in range(9):
        there.grow()
    capacity.ask_for(100)
    assert there.placed == [], "its own request keeps a trial from its place"
    assert len(there.groups) == 90


def test_where_there_is_room_nothing_is_asked_for(cluster: Callable[..., Cluster]) -> None:
    there = cluster(3)
    Capacity(resources(workers=2)).ask_for(1)
    assert there.groups == []


def test_room_for_half_a_trial_is_no_room(cluster: Callable[..., Cluster]) -> None:
    there = cluster(3)
    there.in_use = 2
    Capacity(resources(workers=2)).ask_for(10)
    assert len(there.groups) == 9
    assert there.groups[0].bundles == [{"memory": 500e6}, *[{"CPU": 1, "GPU": 1}] * 2]


def test_what_is_no_longer_wanted_is_asked_for_no_more(cluster: Callable[..., Cluster]) -> None:
    there = cluster(1)
    there.in_use = 1
    capacity = Capacity(resources())
    capacity.ask_for(4)
    kept = there.groups[0]
    capacity.ask_for(2)
    assert [group is kept for group in there.groups] == [True]
    capacity.ask_for(0)
    assert there.groups == []


def test_a_cluster_that_cannot_grow_is_not_asked(cluster: Callable[..., Cluster]) -> None:
    there = cluster(1)
    there.in_use = 1
    Capacity(resources(scale_up_minutes=None)).ask_for(4)
    assert there.groups == []


def test_trials_that_take_a_part_of_a_gpu_share_it(cluster: Callable[..., Cluster]) -> None:
    cluster(2)
    assert Capacity(resources(gpus_per_worker=0.25)).now() == 8


@pytest.mark.parametrize(("wanted", "most"), [("auto", 2), (10, 10), (1, 1)])
def test_packs_are_made_for_as_many_trials_as_are_said_to_run(
    cluster: Callable[..., Cluster], wanted: Any, most: int
) -> None:
    cluster(2)
    assert Capacity(resources(concurrent_trials=wanted)).most() == most


def test_a_cluster_without_room_is_refused_unless_it_may_grow(
    cluster: Callable[..., Cluster],
) -> None:
    cluster(0)
    assert Capacity(resources()).check() == 0
    with pytest.raises(ExecutorError, match="holds 0; lower resources"):
        Capacity(resources(scale_up_minutes=None)).check()
