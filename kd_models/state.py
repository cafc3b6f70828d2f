"""Everything a training needs to go on exactly where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn


class Stateful(Protocol):
    """An optimizer, or a lane of one."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class TrainingState:
    """The state after ``epoch`` whole epochs: weights and optimizers.

    The data order needs no place here: it is a function of seed and epoch (fit.epoch_order), and
    nothing else that is random happens in a training.
    """

    epoch: int
    networks: Mapping[str, Mapping[str, Tensor]]
    optimizers: Sequence[Mapping[str, Any]]

    @classmethod
    def start(cls) -> Self:
        """Return the state before the first epoch."""
        return cls(0, {}, ())

    @classmethod
    def capture(
        cls, epoch: int, networks: Mapping[str, nn.Module], optimizers: Sequence[Stateful]
    ) -> Self:
        """Take the state of a training. Tensors are shared with it: save before going on."""
        return cls(
            epoch,
            {name: network.state_dict() for name, network in networks.items()},
            [optimizer.state_dict() for optimizer in optimizers],
        )

    def restore(self, networks: Mapping[str, nn.Module], optimizers: Sequence[Stateful]) -> None:
        """Put the state back into networks and optimizers of the same make, in place."""
        for name, network in networks.items():
            network.load_state_dict(dict(self.networks[name]))
        for optimizer, saved in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(dict(saved))

    def save(self, path: Path) -> None:
        """Write the state to a file."""
        torch.save(
            {
                "epoch": self.epoch,
                # Cloned: of a lane's view torch would write the whole stack.
                "networks": {
                    name: {key: tensor.clone() for key, tensor in weights.items()}
                    for name, weights in self.networks.items()
                },
                "optimizers": [dict(o) for o in self.optimizers],
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a state written by :meth:`save`; no code in the file is run."""
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return cls(saved["epoch"], saved["networks"], saved["optimizers"])
