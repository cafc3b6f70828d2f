"""Everything a training needs to go on exactly where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingState:
    """The state after ``epoch`` whole epochs: weights and optimizers.

    The data order needs no place here: it is a function of seed and epoch (epochs.epoch_order),
    and nothing else that is random happens in a training.
    """

    epoch: int
    networks: Mapping[str, Mapping[str, Tensor]]
    optimizers: Sequence[Mapping[str, Any]]

    @classmethod
    def capture(
        cls,
        epoch: int,
        networks: Mapping[str, nn.Module],
        optimizers: Sequence[Mapping[str, Any]],
    ) -> Self:
        """Take the state of networks, with that of their optimizers.

        Tensors are shared with the training: save before going on.
        """
        states = {name: network.state_dict() for name, network in networks.items()}
        return cls(epoch, states, optimizers)

    def restore_networks(self, networks: Mapping[str, nn.Module]) -> None:
        """Put the state of networks back into networks of the same make, in place."""
        for name, network in networks.items():
            network.load_state_dict(dict(self.networks[name]))

    def save(self, file: Path | BinaryIO) -> None:
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
            file,
        )

    @classmethod
    def load(cls, file: Path | BinaryIO) -> Self:
        """Read a state written by :meth:`save`; no code in the file is run."""
        saved = torch.load(file, map_location="cpu", weights_only=True)
        return cls(saved["epoch"], saved["networks"], saved["optimizers"])
