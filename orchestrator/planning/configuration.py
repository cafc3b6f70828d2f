"""Configurations: what candidates are without task and seed, and what tells them apart."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from kd_models.values import short_text
from orchestrator.planning.keys import canonical_json

Kind = Literal["student", "teacher", "baseline"]

Task = tuple[str, str]
"""dataset and normal class"""


@dataclass(frozen=True)
class Configuration:
    """What is compared and chosen: a method and the values of its axes, over tasks and seeds.

    Attributes:
        method: name of the method.
        kind: what it makes.
        axes: values by the name of the method's own axis, as JSON; the first says most.
        label: what the sweep file calls it, where it has several of one method.
        alone: the axes of the same student trained without a teacher, if there is such a one.
    """

    method: str
    kind: Kind
    axes: Mapping[str, Any]
    label: str | None = None
    alone: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def group(self) -> str:
        """Return what tells it from the configurations with other axes: its label or method."""
        return self.label or self.method

    @cached_property
    def key(self) -> str:
        """Return what only equal configurations share."""
        return canonical_json([self.method, self.label, self.axes])

    @cached_property
    def key_alone(self) -> str | None:
        """Return the key of the same student trained without a teacher, if there is such a one."""
        return None if self.alone is None else canonical_json([self.method, self.label, self.alone])

    @property
    def name(self) -> str:
        """Return its values on all axes in words, the same in every sweep."""
        return self.in_words(self.axes, with_group=bool(self.label) or self.kind == "baseline")

    def in_words(self, axes: Iterable[str], *, with_group: bool = False) -> str:
        """Return the values on some axes in short words.

        Args:
            axes: names; those that it lacks are left out.
            with_group: whether the label or method comes first, as it does where nothing else is
                said.
        """
        words = [short_text(self.axes[name]) for name in axes if name in self.axes]
        return " ".join([self.group] * (with_group or not words) + words)


class Telling:
    """What tells configurations apart, in few words.

    Args:
        of: configurations by dataset.
    """

    def __init__(self, of: Mapping[str, Collection[Configuration]]) -> None:
        groups: dict[str, dict[str, dict[str, Configuration]]] = {}
        for dataset, configurations in of.items():
            for one in configurations:
                groups.setdefault(one.group, {}).setdefault(dataset, {})[one.key] = one
        self._axes = {
            group: _needed([list(own.values()) for own in by_dataset.values()])
            for group, by_dataset in groups.items()
        }
        trained = {
            one.group
            for configurations in of.values()
            for one in configurations
            if one.kind != "baseline"
        }
        self._several = len(trained) > 1

    @property
    def axes(self) -> list[str]:
        """Return all axes that are needed, the first that say most first."""
        return list(dict.fromkeys(name for axes in self._axes.values() for name in axes))

    @property
    def several_methods(self) -> bool:
        """Return whether several methods or labels were trained, baselines apart."""
        return self._several

    def words(self, one: Configuration) -> str:
        """Return the words that tell a configuration from the others."""
        with_group = self._several or one.kind == "baseline"
        axes = self._axes[one.group]
        if not axes and not with_group:
            axes = list(one.axes)[:1]
        return one.in_words(axes, with_group=with_group)


def _needed(datasets: list[list[Configuration]]) -> list[str]:
    """Return the fewest axes by which the configurations of each dataset differ.

    An axis that differs between datasets alone, as a default by dataset does, is not needed.
    """
    axes = [
        name
        for name in dict.fromkeys(name for own in datasets for one in own for name in one.axes)
        if any(len({short_text(one.axes.get(name)) for one in own}) > 1 for own in datasets)
    ]

    def distinct(names: list[str]) -> int:
        return sum(len({one.in_words(names) for one in own}) for own in datasets)

    everything = distinct(axes)
    for name in reversed(axes):
        others = [other for other in axes if other != name]
        if distinct(others) == everything:
            axes = others
    return axes
