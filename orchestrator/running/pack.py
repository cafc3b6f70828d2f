"""Run one pack: parents in, trained stages out."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kd_models.world import World
from orchestrator.planning.pack import Pack, evenly
from orchestrator.planning.stage import Stage
from orchestrator.running.context import RunContext, Session
from orchestrator.running.inputs import LASTING, PackInputs
from orchestrator.running.running_stage import RunningStage
from orchestrator.running.stack import StackRun, reason_of, stack_size


def run_pack(pack: Pack, context: RunContext, world: World, session: Session) -> dict[str, str]:
    """Train the stages of a pack that the store lacks, and store them.

    As many train at once as is fastest, or as ``context.lanes`` says: each such stack to its end.

    Args:
        pack: the pack.
        context: where and how it runs.
        world: the processes that train it, of which this is one.
        session: whoever runs it.

    Returns:
        The reasons of the stages that cannot be trained, by key. One stage's failure does not
        keep the others from being trained.

    Raises:
        Exception: anything that may not happen again in another try.
    """
    return _PackRun(pack, context, world, session).to_the_end()


class _PackRun:
    def __init__(self, pack: Pack, context: RunContext, world: World, session: Session) -> None:
        self._context, self._world, self._session = context, world, session
        self._inputs = PackInputs(context, world)
        # As process 0 finds it: another sweep may store a stage while the processes look.
        there = (
            context.store.present(s.key for s in pack.stages) if world.rank == 0 else frozenset()
        )
        trained = world.gather(there)[0]
        self._waiting = [stage for stage in pack.stages if stage.key not in trained]
        unfinished = context.checkpoints.load(self._waiting, world)
        if world.rank == 0:
            for problem in unfinished.problems:
                session.say(f"warning: {problem}")
        self._checkpoints = unfinished.checkpoints
        self._failures = dict(unfinished.diverged)
        self._warned: set[str] = set()

    def to_the_end(self) -> dict[str, str]:
        groups = self._groups()
        left = [stage for group in groups for stage in group]
        for group in groups:
            begun = self._checkpoints.get(group[0].key)
            if begun and self._context.lanes == "auto":
                size = begun.lanes
            else:
                size = stack_size(group, self._context, self._inputs, self._world)
            for stages in evenly(group, -(-len(group) // size)):
                self._train(stages, size)
                left = [stage for stage in left if stage not in stages]
                self._inputs.free_targets(needed_by=left)
        return self._failures

    def _groups(self) -> list[list[Stage]]:
        """Return the stages that can be trained, grouped by what those of one stack share.

        Those that were stopped after the same epoch go on together; the most advanced first.
        """
        groups: dict[tuple[int, int, int], list[Stage]] = {}
        for stage in self._waiting:
            if stage.key in self._failures:
                continue
            try:
                batch, _ = self._inputs.batches(stage)
            except LASTING as error:
                self._failures[stage.key] = reason_of(error)
                continue
            begun = self._checkpoints.get(stage.key)
            epoch, lanes = (begun.state.epoch, begun.lanes) if begun else (0, 0)
            groups.setdefault((-epoch, lanes, batch), []).append(stage)
        return [groups[kind] for kind in sorted(groups)]

    def _train(self, stages: Sequence[Stage], lanes: int) -> None:
        """Train a stack to its end."""
        running: list[RunningStage] = []
        with self._warnings_passed_on(stages):
            for stage in stages:
                try:
                    learner = self._inputs.learner(stage)
                except LASTING as error:
                    self._failures[stage.key] = reason_of(error)
                    continue
                begun = self._checkpoints.get(stage.key)
                history = begun.history if begun else ()
                running.append(RunningStage(stage, learner, self._inputs, history))
            if running:
                stack = StackRun(
                    running, self._context, self._inputs, self._world, self._session, lanes
                )
                self._failures |= stack.to_the_end(self._checkpoints)

    @contextmanager
    def _warnings_passed_on(self, stages: Sequence[Stage]) -> Iterator[None]:
        """Pass the warnings of kd_models on to the session, since nobody sees a worker's log."""
        title = Pack.of(stages).title
        warned, session = self._warned, self._session

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                line = f"{title}: {record.getMessage()}"
                if line not in warned:  # every lane may have the same warning
                    warned.add(line)
                    session.say(line)

        handler, log = Handler(logging.WARNING), logging.getLogger("kd_models")
        if self._world.rank == 0:
            log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
