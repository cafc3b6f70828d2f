"""Random numbers that objectives ask for.

Objectives draw none themselves: what one training draws must not depend on the others beside it,
on the number of processes, or on whether it was interrupted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kd_models.methods.objectives import Batch

_STREAM = 1 << 60
"""keeps these numbers apart from the order of images, which has seeds below it"""


@dataclass(frozen=True)
class Draw:
    """What is drawn for each image of a batch.

    Attributes:
        shape: of one image's numbers.
        kind: ``normal``, of mean 0 and variance 1, or ``uniform``, from 0 to 1.
    """

    shape: tuple[int, ...]
    kind: Literal["normal", "uniform"] = "normal"

    def numbers(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the numbers (count, *shape) of so many images."""
        draw = torch.randn if self.kind == "normal" else torch.rand
        return draw(count, *self.shape, generator=generator)


def epoch_draws(draws: Mapping[str, Draw], count: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Yield what is drawn for each batch of ``count`` images, on the CPU, without end.

    Args:
        draws: what is drawn, by its name in the batch.
        count: images in a batch over all processes.
        seed: of the training.
        epoch: from 0.
    """
    generator = torch.Generator().manual_seed(_STREAM + seed * 1_000_003 + epoch)
    while True:
        yield {name: draw.numbers(count, generator) for name, draw in draws.items()}
