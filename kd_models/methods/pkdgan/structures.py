"""Distillation structures as values: which of the five losses are in use (P-KDGAN, Eq. 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from kd_models.values import look_up


class Term(StrEnum):
    """A loss of the set L in P-KDGAN, Eq. 7."""

    LG_T = "L_g^T"
    LD_T = "L_d^T"
    LG_S = "L_g^S"
    LD_S = "L_d^S"
    KL = "K_l"


@dataclass(frozen=True)
class Structure:
    """One training step, named by the losses it minimises.

    A weight of 0 never turns one structure into another: a loss that is not in ``terms``
    has no networks, no optimizer and no cost.
    """

    name: str
    terms: frozenset[Term]

    @property
    def trains_teacher(self) -> bool:
        """Return whether the teacher trains on its own losses.

        A copy of it does: a stored teacher never changes.
        """
        return Term.LG_T in self.terms

    @property
    def trains_student(self) -> bool:
        """Return whether the student trains."""
        return bool(self.terms & {Term.LG_S, Term.KL})

    @property
    def distils(self) -> bool:
        """Return whether a teacher is needed."""
        return Term.KL in self.terms

    @property
    def scored(self) -> Literal["teacher", "student"]:
        """Return whose generator this step is run for: ``student`` or ``teacher``."""
        return "student" if self.trains_student else "teacher"


def _structure(name: str, *terms: Term) -> Structure:
    return Structure(name, frozenset(terms))


TEACHER = _structure("teacher", Term.LG_T, Term.LD_T)
ALONE = _structure("alone", Term.LG_S, Term.LD_S)
KDGAN_1 = _structure("kdgan-1", Term.KL)
KDGAN_2 = _structure("kdgan-2", Term.LG_S, Term.LD_S, Term.KL)
KDGAN_3 = _structure("kdgan-3", Term.LG_T, Term.LD_T, Term.KL)
KDGAN_4 = _structure("kdgan-4", *Term)

STRUCTURES: Mapping[str, Structure] = MappingProxyType(
    {s.name: s for s in (TEACHER, ALONE, KDGAN_1, KDGAN_2, KDGAN_3, KDGAN_4)}
)

CHAINS: Mapping[str, tuple[Structure, ...]] = MappingProxyType(
    {
        **{s.name: (s,) for s in STRUCTURES.values()},
        # P-KDGAN-I is KDGAN-2; the second step goes on from both its networks (Algorithm 1).
        "p-kdgan-23": (KDGAN_2, KDGAN_3),
        "p-kdgan-24": (KDGAN_2, KDGAN_4),
    }
)
"""What a candidate's ``structure`` may be, as its training steps in order.

``alone`` is the student without a teacher, the baseline of P-KDGAN's Table 4; ``teacher`` is the
teacher itself, to compare students with."""


def chain(name: str) -> tuple[Structure, ...]:
    """Look a chain up.

    Raises:
        ValueError: the name is none of :data:`CHAINS`; the message lists them.
    """
    return look_up(name, CHAINS, "structure")
