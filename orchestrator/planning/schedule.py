"""Which pack may start next. Pure: executors ask it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.planning.pack import Pack
from orchestrator.planning.stage import Stage


@dataclass
class Schedule:
    """Packs, released when their parents are finished, without the stages below a failure.

    Args:
        packs: what is left to train, parents before children.
        concurrent: how many may run at once.
    """

    packs: Iterable[Pack]
    concurrent: int
    finished: set[str] = field(default_factory=set)
    """stage keys"""
    found: set[str] = field(default_factory=set)
    """keys of those of them that somebody else trained meanwhile"""
    failed: dict[str, str] = field(default_factory=dict)
    """stage key -> reason"""
    skipped: dict[str, str] = field(default_factory=dict)
    """stage key -> key of the failed stage it needed"""
    _waiting: dict[str, Pack] = field(init=False)
    _running: dict[str, Pack] = field(default_factory=dict)
    _unfinished: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = {pack.key: pack for pack in self.packs}
        self._unfinished = {stage.key for pack in self.packs for stage in pack.stages}

    @property
    def over(self) -> bool:
        """Return whether nothing runs and nothing can start any more."""
        return not self._waiting and not self._running

    @property
    def ready(self) -> int:
        """Return how many packs run, or could if there were room."""
        waiting = (not pack.parents & self._unfinished for pack in self._waiting.values())
        return len(self._running) + sum(waiting)

    def start_next(self, leaving_out: Collection[str] = ()) -> Pack | None:
        """Take a pack whose parents are all finished, or None while there is none to take.

        Args:
            leaving_out: keys of packs that are not to be taken now.
        """
        if len(self._running) >= self.concurrent:
            return None
        for key, pack in self._waiting.items():
            if key not in leaving_out and not pack.parents & self._unfinished:
                self._running[key] = self._waiting.pop(key)
                return pack
        return None

    def split(self, pack_key: str, stages: Collection[str]) -> tuple[Pack | None, Pack | None]:
        """Make two running packs of one.

        Args:
            pack_key: of the running pack.
            stages: keys of stages.

        Returns:
            The pack of the stages that are among these, and that of the others; None where there
            are none.
        """
        pack = self._running.pop(pack_key)
        chosen = [stage for stage in pack.stages if stage.key in stages]
        others = [stage for stage in pack.stages if stage.key not in stages]
        if not (chosen and others):
            self._running[pack_key] = pack
            return (pack, None) if chosen else (None, pack)
        parts = Pack.of(chosen), Pack.of(others)
        self._running |= {part.key: part for part in parts}
        return parts

    def put_back(self, pack_key: str) -> None:
        """Let a running pack wait again, behind the others."""
        self._waiting[pack_key] = self._running.pop(pack_key)

    def finish(self, pack_key: str, failures: Mapping[str, str]) -> None:
        """Take note that a running pack ended, with the reasons of its stages that failed."""
        pack = self._running.pop(pack_key)
        for stage in pack.stages:
            if stage.key in failures:
                self.failed[stage.key] = failures[stage.key]
            else:
                self._unfinished.discard(stage.key)
                self.finished.add(stage.key)
        if failures:
            self._skip_descendants()

    def _skip_descendants(self) -> None:
        # Parents come before children, so one pass reaches every generation.
        for key, pack in list(self._waiting.items()):
            left = tuple(stage for stage in pack.stages if not self._is_lost(stage))
            if left:
                self._waiting[key] = replace(pack, stages=left)
            else:
                del self._waiting[key]

    def _is_lost(self, stage: Stage) -> bool:
        """Return whether a parent of a stage is lost; if so, the stage is skipped."""
        lost = [p for p in stage.parents if p in self.failed or p in self.skipped]
        if lost:
            self.skipped[stage.key] = self.skipped.get(lost[0], lost[0])
        return bool(lost)
