"""Learners whose networks train, and score, as one.

Shapes: n lanes, k of them active (a lane is not in the last steps of an epoch where its data is
spent), B images in a batch.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from kd_models.evaluation.scoring import batch_of
from kd_models.methods.base import Learner
from kd_models.methods.objectives import LOSS, Batch
from kd_models.training.lanes.adam import LaneAdam
from kd_models.training.lanes.stacking import (
    SingleObjective,
    StackedModules,
    StackedObjective,
    Stacks,
    gather,
)
from kd_models.training.state import TrainingState
from kd_models.world import World


class Lanes:
    """Learners of one shape whose networks train, and score, as one.

    Args:
        learners: one for each lane, of equal networks and objectives, but for the objectives'
            weights. Where a lane is not always active, those that are come first.
        betas: of Adam.
        world: the processes that train them.
    """

    def __init__(
        self, learners: Sequence[Learner], betas: tuple[float, float], world: World
    ) -> None:
        self.learners = tuple(learners)
        self._betas, self._world = betas, world
        self._stacks: Stacks = {}
        self._scorer: StackedModules | None = None
        objectives: list[SingleObjective | StackedObjective] = []
        self._every: list[int] = []
        for same in zip(*(learner.objectives() for learner in learners), strict=True):
            self._every.append(same[0].every)
            moved = [objective.to(world.device) for objective in same]
            if len(moved) == 1:
                objectives.append(SingleObjective(moved[0]))
            else:
                objectives.append(StackedObjective(moved, self._stacks))
        lanes = len(learners)
        self._optimizers = [LaneAdam(o.trainable, lanes, betas, lanes > 1) for o in objectives]
        self._objectives = [world.wrap(objective) for objective in objectives]

    def __len__(self) -> int:
        """Return n."""
        return len(self.learners)

    def train_step(self, batch: Batch, lrs: Sequence[float], number: int = 0) -> dict[str, Tensor]:
        """Minimise each objective that is due once, each lane on its own images.

        Args:
            batch: as :func:`gather` makes it, of the first k lanes.
            lrs: the learning rates of these k.
            number: of the step in its epoch, from 0.

        Returns:
            Every term, detached, each (k,); ``loss/0`` and so on are the objectives' sums.
        """
        terms: dict[str, Tensor] = {}
        for place, (objective, optimizer, every) in enumerate(
            zip(self._objectives, self._optimizers, self._every, strict=True)
        ):
            if number % every:
                continue
            own, made = objective(batch)
            optimizer.zero_grad()
            own[LOSS].sum().backward()
            optimizer.step(lrs)
            batch = batch | made
            own[f"{LOSS}/{place}"] = own.pop(LOSS)
            terms |= {name: term.detach() for name, term in own.items()}
        return terms

    def score(self, images: Sequence[Tensor], targets: Sequence[Batch]) -> list[Tensor]:
        """Return the novelty scores (N_i,) of each lane's images (N_i, C, S, S).

        Args:
            images: of each lane.
            targets: of each lane, as from ``Learner.scoring_targets``; where one lane has none,
                none is used.
        """
        if len(self) == 1:
            return [self.learners[0].score(images[0], self._world, targets[0])]
        if not all(targets):
            targets = [{}] * len(self)
        # A scorer leaves the networks it shares in evaluation mode.
        scorers = [learner.scorer() for learner in self.learners]
        if self._scorer is None:
            self._scorer = StackedModules(scorers, self._stacks)
        try:
            return self._score(self._scorer, images, targets)
        finally:
            self.train()

    def train(self) -> None:
        """Put all networks into training mode."""
        for learner in self.learners:
            for network in learner.trained.values():
                network.train()

    def average_buffers(self) -> None:
        """Give every process the same running statistics; see ``World.average_buffers``."""
        self._world.average_buffers(
            *(network for learner in self.learners for network in learner.trained.values())
        )

    def state_of(self, lane: int, epoch: int) -> TrainingState:
        """Return a lane's state after ``epoch`` epochs. Its tensors are in use: save it first."""
        optimizers = [optimizer.state_of(lane) for optimizer in self._optimizers]
        return TrainingState.capture(epoch, self.learners[lane].trained, optimizers)

    def restore(self, lane: int, state: TrainingState) -> None:
        """Put a state into a lane."""
        state.restore_networks(self.learners[lane].trained)
        for optimizer, saved in zip(self._optimizers, state.optimizers, strict=True):
            optimizer.restore(lane, saved)

    def without(self, lost: Collection[int]) -> "Lanes":
        """Return the other lanes, exactly where they are in their training."""
        kept = [lane for lane in range(len(self)) if lane not in lost]
        states = [[o.state_of(lane) for o in self._optimizers] for lane in kept]
        rest = Lanes([self.learners[lane] for lane in kept], self._betas, self._world)
        for lane, saved in enumerate(states):
            for optimizer, state in zip(rest._optimizers, saved, strict=True):
                optimizer.restore(lane, state)
        return rest

    @torch.no_grad()
    def _score(
        self, scorer: StackedModules, images: Sequence[Tensor], targets: Sequence[Batch]
    ) -> list[Tensor]:
        data = [{"x": x, **own} for x, own in zip(images, targets, strict=True)]
        alike = all(x is images[0] for x in images)
        sizes = [len(x) for x in images]
        size = min(batch_of(images[0]), max(1, 4 * batch_of(images[0]) // len(self)))

        def of(rows: Tensor) -> Tensor:
            """Map (r,) row numbers to (r, n) scores."""
            scores = rows.new_empty((len(rows), len(self)), dtype=images[0].dtype)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                if alike:
                    batch, dims = {name: t[some] for name, t in data[0].items()}, None
                else:
                    batch = gather(data, [some.clamp(max=last - 1) for last in sizes])
                    dims = 0
                x = batch.pop("x")
                scores[start : start + size] = scorer.call((x, batch), dims).T
            return scores

        # A lane with fewer images scores its last one again up to the end of the longest; these
        # scores are dropped here.
        every = torch.arange(max(sizes), device=images[0].device)
        scores = self._world.map_rows(of, every)
        return [scores[:size, lane] for lane, size in enumerate(sizes)]
