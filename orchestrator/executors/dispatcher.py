"""Hands out the packs of a schedule: leased, and once more where one was lost."""

import contextlib
import time
from collections import Counter
from collections.abc import Mapping

from orchestrator.executors.base import Listener, Work
from orchestrator.planning.pack import Pack
from orchestrator.planning.schedule import Schedule
from orchestrator.store.leases import Leases, Owner
from orchestrator.store.objects import StoreError

_ASKED_AGAIN_AFTER = 5.0
"""seconds until it is asked again whether another sweep has trained a pack's stages"""


class Dispatcher:
    """Hands out the packs of a schedule.

    A stage that another sweep has trained is finished; one that another sweep trains is waited for,
    and trained here if that sweep gives up. A pack that was lost, with its process or its machine,
    is handed out again, ``resources.retries`` times.

    Args:
        schedule: the packs.
        work: what they are trained for.
        leases: of this sweep.
        listener: takes what happens.
    """

    def __init__(self, schedule: Schedule, work: Work, leases: Leases, listener: Listener) -> None:
        self._schedule, self._work, self._leases = schedule, work, leases
        self._listener = listener
        self._lost: Counter[str] = Counter()
        """how often each stage was lost, by its key"""
        self._ask_again: dict[str, float] = {}
        """when packs that other sweeps train are looked at again, by their key"""
        self._told: set[str] = set()
        """what was said already"""

    @property
    def over(self) -> bool:
        """Return whether nothing runs and nothing is left to hand out."""
        return self._schedule.over

    def next(self) -> Pack | None:
        """Return a pack to train, or None where there is none now.

        While the store cannot be reached there is none: that is said, and it is asked again.
        """
        try:
            return self._next()
        except StoreError as error:
            minute = int(time.monotonic() / 60)  # it may be away for good, and then is said so
            self._say_once(f"the store {minute}", f"warning: {error}; trying again")
            return None

    def _next(self) -> Pack | None:
        now = time.monotonic()
        while True:
            later = {key for key, then in self._ask_again.items() if then >= now}
            pack = self._schedule.start_next(leaving_out=later)
            if pack is None:
                return None
            keys = [stage.key for stage in pack.stages]
            try:
                owners = self._leases.take(keys)
                there = self._work.store.present(keys)
            except StoreError:
                self._put_back(pack)
                raise
            if there:
                self._schedule.found |= there
                pack = self._take_out(pack, there)
            if pack and owners.keys() - there:
                pack = self._wait_for(pack, owners)
            if pack:
                return pack

    def ended(self, pack: Pack, failures: Mapping[str, str]) -> None:
        """Take note that a pack was trained, but for those stages that fail by themselves."""
        self._end(pack, failures)
        with contextlib.suppress(StoreError):  # what is left only takes room
            self._work.checkpoints.delete(stage.key for stage in pack.stages)

    def lost(self, pack: Pack, reason: str) -> None:
        """Take note that a pack's training ended before its end.

        Args:
            pack: the pack.
            reason: why, in one line.
        """
        with contextlib.suppress(StoreError):  # if it is there, that is seen at the next try
            there = self._work.store.present(stage.key for stage in pack.stages)
            left = self._take_out(pack, there)
            if left is None:
                return
            pack = left
        self._lost.update(stage.key for stage in pack.stages)
        if max(self._lost[stage.key] for stage in pack.stages) > self._work.spec.resources.retries:
            self._end(pack, {stage.key: reason for stage in pack.stages})
        else:
            self._listener.said(f"{pack.title}: trying again ({reason})")
            self._schedule.put_back(pack.key)

    def _end(self, pack: Pack, failures: Mapping[str, str]) -> None:
        self._schedule.finish(pack.key, self._listener.pack_ended(pack, failures))
        with contextlib.suppress(StoreError):  # they lapse
            self._leases.release(stage.key for stage in pack.stages)

    def _take_out(self, pack: Pack, there: frozenset[str]) -> Pack | None:
        """Finish those stages of a pack that the store has; return the pack of the others."""
        trained, left = self._schedule.split(pack.key, there)
        if trained:
            self.ended(trained, {})
        return left

    def _wait_for(self, pack: Pack, owners: Mapping[str, Owner]) -> Pack | None:
        """Put back those stages of a pack that others train; return the pack of the rest."""
        others, left = self._schedule.split(pack.key, owners.keys())
        if others:
            self._put_back(others)
            for owner in {owners[stage.key] for stage in others.stages}:
                line = f"waiting for {owner}, which trains {others.title}"
                self._say_once(f"{others.key} {owner.token}", line)
        return left

    def _put_back(self, pack: Pack) -> None:
        """Let a pack wait for a moment."""
        self._schedule.put_back(pack.key)
        self._ask_again[pack.key] = time.monotonic() + _ASKED_AGAIN_AFTER

    def _say_once(self, about: str, line: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self._listener.said(line)
