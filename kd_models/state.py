"""Everything a training needs to go on exactly where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class TrainingState:
    """The state after ``epoch`` whole epochs: weights, optimizers, random numbers.

    The data order needs no place here: it is a function of seed and epoch (fit.epoch_order).
    """

    epoch: int
    networks: Mapping[str, Mapping[str, Tensor]]
    optimizers: Sequence[Mapping[str, Any]]
    rng: Mapping[str, Tensor]

    @classmethod
    def start(cls) -> Self:
        """Return the state before the first epoch."""
        return cls(0, {}, (), {})

    @classmethod
    def capture(
        cls, epoch: int, networks: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]
    ) -> Self:
        """Take the state of a training. Tensors are shared with it: save before going on."""
        rng = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            rng["cuda"] = torch.cuda.get_rng_state()
        return cls(
            epoch,
            {name: network.state_dict() for name, network in networks.items()},
            [optimizer.state_dict() for optimizer in optimizers],
            rng,
        )

    def restore(self, networks: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]) -> None:
        """Put the state back into networks and optimizers of the same make."""
        for name, network in networks.items():
            network.load_state_dict(dict(self.networks[name]))
        for optimizer, saved in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(dict(saved))
        torch.set_rng_state(self.rng["cpu"])
        if "cuda" in self.rng and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.rng["cuda"])

    def save(self, path: Path) -> None:
        """Write the state to a file."""
        torch.save(
            {
                "epoch": self.epoch,
                "networks": {n: dict(w) for n, w in self.networks.items()},
                "optimizers": [dict(o) for o in self.optimizers],
                "rng": dict(self.rng),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a state written by :meth:`save`; no code in the file is run."""
        return cls(**torch.load(path, map_location="cpu", weights_only=True))
