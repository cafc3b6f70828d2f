"""How a network is trained: every part of the recipe is a setting."""

import math
from typing import Annotated, Literal

from pydantic import Field

from kd_models.values import Value

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(Value):
    """Adam on shuffled batches of normal images; the weights of the last epoch are the result.

    Without the decay AUROC swings by 0.1 from epoch to epoch, so the cosine is the default.
    """

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1)] = 64
    """images per step over all workers; the last, smaller batch of an epoch is dropped"""
    lr: Annotated[float, Field(gt=0)] = 0.002
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    schedule: Literal["cosine", "constant"] = "cosine"

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate of ``step`` (from 0) out of ``steps``; a cosine ends at zero."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
