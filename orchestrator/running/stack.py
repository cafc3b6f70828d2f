"""Stages of one shape that train together: their epochs, evaluations and checkpoints."""

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch

from kd_models.methods.base import Learner
from kd_models.training.epochs import Diverged, Epoch, Training, fit_each, train_together
from kd_models.training.lanes.size import fastest_size
from kd_models.world import World
from orchestrator.planning.stage import Stage
from orchestrator.running.checkpoints import Checkpoint
from orchestrator.running.context import Row, RunContext, Session
from orchestrator.running.inputs import LASTING, PackInputs
from orchestrator.running.running_stage import RunningStage


def stack_size(
    stages: Sequence[Stage], context: RunContext, inputs: PackInputs, world: World
) -> int:
    """Return how many of the stages, which are of one shape, to train at once.

    Measured on a few steps where ``context.lanes`` is "auto".
    """
    if context.lanes != "auto":
        return context.lanes
    recipe = stages[0].recipe
    if recipe is None:
        return 1

    def make(size: int) -> list[Training]:
        """Return as many trainings, or all that can be had."""
        learners: dict[int, Learner] = {}
        for place, stage in enumerate(stages):
            if len(learners) == size:
                break
            with contextlib.suppress(*LASTING):  # raised again when it is the stage's turn
                learners[place] = inputs.learner(stage)
        return trainings_of([stages[place] for place in learners], [*learners.values()], inputs)

    if not make(1):
        return 1
    _, batches = inputs.batches(stages[0])
    return fastest_size(make, len(stages), recipe, world, recipe.epochs * batches)


def trainings_of(
    stages: Sequence[Stage], learners: Sequence[Learner], inputs: PackInputs
) -> list[Training]:
    """Return the trainings of stages by their learners.

    Lanes run the same code, so they have targets all or none.
    """
    targets = [inputs.targets(stage, one) for stage, one in zip(stages, learners, strict=True)]
    if not all(targets):
        targets = [{} for _ in stages]
    return [
        Training(learner, {"x": inputs.data(stage).train, **own}, stage.seed)
        for stage, learner, own in zip(stages, learners, targets, strict=True)
    ]


class StackRun:
    """The training of a stack.

    Args:
        running: the stages, of one shape.
        context: where and how they run.
        inputs: what they train on.
        world: the processes that train them.
        session: whoever runs the pack.
        lanes: how many are to train at once, kept with what becomes of them.
    """

    def __init__(
        self,
        running: Sequence[RunningStage],
        context: RunContext,
        inputs: PackInputs,
        world: World,
        session: Session,
        lanes: int,
    ) -> None:
        self._running, self._context, self._inputs = running, context, inputs
        self._world, self._session = world, session
        self._lanes = lanes
        self._failures: dict[str, str] = {}
        self._recipe = running[0].stage.recipe
        self._last = running[0].stage.epochs
        self._clock = time.monotonic()

    def to_the_end(self, checkpoints: Mapping[str, Checkpoint]) -> dict[str, str]:
        """Train, from checkpoints on; return by key the reasons of the stages that fail."""
        if self._world.rank == 0:
            for one in self._running:
                if one.history:
                    # Again, since reports of the last epochs may have died with the process.
                    self._session.report(one.stage, list(one.history))
        stages = [one.stage for one in self._running]
        trainings = trainings_of(stages, [one.learner for one in self._running], self._inputs)
        resumed = [
            replace(training, state=checkpoints[stage.key].state)
            if stage.key in checkpoints
            else training
            for training, stage in zip(trainings, stages, strict=True)
        ]
        self._clock = time.monotonic()
        if self._recipe is None:
            fit_each(resumed, self._after_epoch, world=self._world)
        else:
            train_together(resumed, self._recipe, self._after_epoch, world=self._world)
        return self._failures

    def _after_epoch(self, epoch: Epoch) -> Collection[int]:
        now = time.monotonic()
        seconds, self._clock = (now - self._clock) / len(epoch.terms), now
        last = epoch.number == self._last
        rows: dict[int, Row] = {
            place: {"epoch": epoch.number, "seconds": seconds, **terms}
            for place, terms in epoch.terms.items()
        }
        lost = dict(epoch.failed)
        if last or epoch.number % self._context.evaluate_every == 0:
            without_scores = self._evaluate(epoch, rows)
            # How often a stage is evaluated does not decide what becomes of it: its end does.
            lost |= without_scores if last else {}
        for place, error in lost.items():
            key = self._running[place].stage.key
            self._failures[key] = reason_of(error)
            if isinstance(error, Diverged) and self._world.rank == 0:
                self._context.checkpoints.save_diverged(key, self._failures[key])
            del rows[place]
        for place, row in rows.items():
            one = self._running[place]
            if last and one.stage.step.localises:
                row |= one.localise(self._world)
            one.history.append(row)
        if rows and not last and epoch.number % self._context.checkpoint_every == 0:
            self._save(epoch, list(rows))
        if self._world.rank == 0:
            for place, row in rows.items():
                one = self._running[place]
                if last:
                    one.write(self._context.store, self._lanes)
                self._session.report(one.stage, [row])
        return lost

    def _evaluate(self, epoch: Epoch, rows: Mapping[int, Row]) -> dict[int, Exception]:
        """Add the AUROCs to the rows; return by place the errors of those without scores."""
        lost: dict[int, Exception] = dict(epoch.calibrate())
        if not rows.keys() - lost.keys() - epoch.failed.keys():
            return lost
        active = {place: self._running[place] for place in rows}
        images = {place: one.data.test for place, one in active.items()}
        targets = {
            place: self._inputs.scoring_targets(one.stage, one.learner)
            for place, one in active.items()
        }
        for place, scores in epoch.score(images, targets).items():
            if place in epoch.failed or place in lost:
                continue
            if not torch.isfinite(scores).all():
                lost[place] = Diverged("novelty scores are not finite")
                continue
            found = active[place].evaluate(scores)
            if self._world.rank == 0:
                rows[place].update(found)
        return lost

    def _save(self, epoch: Epoch, places: Sequence[int]) -> None:
        if self._world.rank != 0:
            return
        for place in places:  # one at a time: a state copies the optimizers' moments
            one = self._running[place]
            kept = Checkpoint(epoch.state(place), one.history, self._lanes)
            self._context.checkpoints.save(one.stage.key, kept)


def reason_of(error: Exception) -> str:
    """Return the reason of a failed stage in one line."""
    return f"{type(error).__name__}: {error}"
