"""What a look at one thing came to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from kd_models.data import DataError
from kd_models.methods.base import WeightsError
from kd_models.methods.registry import MethodError
from orchestrator.console import Say
from orchestrator.errors import UserError

DRIVER = "here"
"""where a finding is made that no other machine makes: the process that would run the sweep"""

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """What a look at one thing came to.

    Attributes:
        check: what was looked at, in a word.
        where: on which machine.
        level: a sweep fails of a fault, and may be worse off for a warning.
        what: what was found.
        fix: what to do about it; empty if all is well.
    """

    check: str
    where: str
    level: Level
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Look:
    """A look at one thing: makes its findings.

    Attributes:
        check: what is looked at, in a word.
        where: on which machine.
    """

    check: str
    where: str = DRIVER

    def ok(self, what: str) -> Finding:
        """Return that all is well."""
        return Finding(self.check, self.where, "ok", what)

    def warning(self, what: str, fix: str) -> Finding:
        """Return what a sweep may be worse off for."""
        return Finding(self.check, self.where, "warning", what, fix)

    def fault(self, what: str, fix: str) -> Finding:
        """Return what a sweep would fail of."""
        return Finding(self.check, self.where, "fault", what, fix)

    def attempt(self, work: Callable[[], Iterable[Finding]], otherwise: str) -> list[Finding]:
        """Return what ``work`` finds; an error it raises is a fault.

        Args:
            work: looks.
            otherwise: what to do about an error that does not say it, as those for users do after
                their last semicolon.
        """
        found: list[Finding] = []
        try:
            found.extend(work())
        except (UserError, DataError, WeightsError, MethodError) as error:
            what, separator, fix = str(error).rpartition("; ")
            found.append(self.fault(what, fix) if separator else self.fault(fix, otherwise))
        except Exception as error:  # of any library, about any setting: the others are looked at
            said = " ".join(str(error).split())
            found.append(self.fault(f"{type(error).__name__}: {said[:500]}", otherwise))
        return found


class Unwell(UserError):
    """A sweep would fail; the message has every fault, and what to do."""


def check(findings: Iterable[Finding], say: Say) -> None:
    """Tell the warnings among findings.

    Raises:
        Unwell: there are faults.
    """
    faults = []
    for finding in findings:
        if finding.level == "warning":
            say(f"warning: {finding.what}; {finding.fix}")
        elif finding.level == "fault":
            faults.append(f"{finding.what}; {finding.fix}")
    if faults:
        raise Unwell("\n".join(faults))
