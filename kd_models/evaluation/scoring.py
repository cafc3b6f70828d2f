"""Scorers: they turn images into novelty scores, whatever the method."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kd_models.world import World

_PIXELS = 256 * 32 * 32
"""pixels in a batch: 256 images of 32 x 32, 16 of 128 x 128"""


class Scorer(nn.Module):
    """A network from images (B, C, S, S) in [-1, 1] to novelty scores (B,).

    A method whose score is more than the student's output overrides ``forward``.

    Args:
        student: the network that was trained.
        teacher: what must be deployed beside it, if anything.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher

    def forward(self, x_BCSS: Tensor, targets: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the novelty scores (B,): the student's output, unless a method overrides this.

        Args:
            x_BCSS: the images.
            targets: the teacher's outputs for them (``Learner.scoring_targets``), used in place
                of running the teacher.
        """
        scores: Tensor = self.student(x_BCSS)
        return scores

    def maps(self, x_BCSS: Tensor) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Return by distillation layer the student's map, the teacher's, and their difference.

        Each is (B, H, W). The result is empty if the student is compared with no teacher.
        """
        return {}

    def load(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor] | None = None
    ) -> None:
        """Load the state dicts of the student and of the teacher beside it, if there is one."""
        self.student.load_state_dict(dict(student))
        if self.teacher is not None:
            self.teacher.load_state_dict(dict(teacher or {}))


@torch.no_grad()
def in_batches(compute: Callable[[Tensor], Tensor], rows: Tensor, size: int = 256) -> Tensor:
    """Return ``compute`` of all rows, at most ``size`` at a time."""
    result: Tensor | None = None
    for start in range(0, len(rows), size):
        part = compute(rows[start : start + size])
        if result is None:  # filled in place: joining the parts would hold everything twice
            result = part.new_empty((len(rows), *part.shape[1:]))
        result[start : start + len(part)] = part
    return compute(rows) if result is None else result


def batch_of(images: Tensor) -> int:
    """Return how many of the images (N, C, S, S) to evaluate at a time."""
    return max(1, _PIXELS // (images.shape[-2] * images.shape[-1]))


def over_images(compute: Callable[[Tensor], Tensor], images: Tensor, world: World) -> Tensor:
    """Return ``compute`` of images (N, C, S, S), each process computing a part in batches.

    Args:
        compute: (n, C, S, S) -> (n, ...), each image on its own.
        images: the images.
        world: the processes.
    """
    size = batch_of(images)
    return world.map_rows(lambda own: in_batches(compute, own, size), images)


def score(scorer: Scorer, images: Tensor, world: World, targets: Mapping[str, Tensor]) -> Tensor:
    """Return the scores (N,) of images (N, C, S, S), each process computing a part.

    Args:
        scorer: the scorer.
        images: the images.
        world: the processes.
        targets: the teacher's outputs for the images, (N, ...) each, as ``Scorer.forward`` takes
            them.
    """

    def of(rows: Tensor) -> Tensor:
        scores: Tensor = scorer(
            images[rows], {name: tensor[rows] for name, tensor in targets.items()}
        )
        return scores

    rows = torch.arange(len(images), device=images.device)
    return world.map_rows(lambda own: in_batches(of, own, batch_of(images)), rows)
