"""Attention placements as values: where a student's ReLUs give way to attention (ECA_MKDAD)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from kd_models.values import look_up


@dataclass(frozen=True)
class Placement:
    """What follows each convolution and its BatchNorm.

    Of the 13 places 5 lie right before a max-pool, whose output is distilled: there the student
    keeps the teacher's ReLU unless attention is ``everywhere``.
    """

    name: str
    attention: Literal["eca", "se", "scse"] | None = None
    everywhere: bool = False
    """attention in all 13 places rather than in the 8 that no max-pool follows"""
    keeps_relu: bool = False
    """attention comes after the ReLU rather than in its place"""

    def after_norm(self, before_pool: bool) -> tuple[bool, str | None]:
        """Return whether a place has a ReLU, and the attention that comes after it."""
        attention = self.attention if self.everywhere or not before_pool else None
        return attention is None or self.keeps_relu, attention


PLACEMENTS: Mapping[str, Placement] = MappingProxyType(
    {
        p.name: p
        for p in (
            Placement("mkdad"),
            Placement("eca", "eca"),
            Placement("eca-all", "eca", everywhere=True),
            Placement("eca-null", "eca", keeps_relu=True),
            Placement("se", "se"),
            Placement("scse", "scse"),
        )
    }
)
"""``eca`` is ECA_MKDAD; the others are its ablations (Fig. 5 and 6): no attention, ECA_MKDAD_ALL,
MKDAD_ECA_NULL, SE_MKDAD and scSE_MKDAD."""


def placement(name: str) -> Placement:
    """Look a placement up.

    Raises:
        ValueError: the name is none of :data:`PLACEMENTS`; the message lists them.
    """
    return look_up(name, PLACEMENTS, "placement")
