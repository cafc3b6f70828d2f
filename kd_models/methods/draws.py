"""Random numbers that objectives ask for.

Objectives draw none themselves: what one training draws must not depend on the others beside it,
on the number of processes, or on whether it was interrupted.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kd_models.methods.objectives import Batch


def stream(name: str) -> int:
    """Return a seed for the random numbers of this name, which are no other name's.

    Of a seed torch reads the lowest 32 bits on the CPU, so they all depend on the name.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


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
    generator = torch.Generator().manual_seed(stream(f"{seed}/draws/{epoch}"))
    while True:
        yield {name: draw.numbers(count, generator) for name, draw in draws.items()}
