"""MemAE's part of a sweep file: widths x one recipe."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from kd_models.methods.base import Step
from kd_models.methods.memae.step import EntropyWeight, MemaeStep, Threshold
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.trained import NetworkSettings
from kd_models.recipe import Recipe
from kd_models.values import Count


def paper_memory(channels: int) -> int:
    """Return the paper's N for images of so many channels: MNIST's, or CIFAR-10's."""
    return 100 if channels == 1 else 500


class MemaeSettings(NetworkSettings):
    """Widths of encoder and decoder, and the memory between them."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {"training": {"epochs": 20, "lr": 0.001, "betas": (0.9, 0.999)}},
            # Rate and epochs are those of the authors' code, which is of videos.
            "paper": {
                "memory": "paper",
                "training": {
                    "epochs": 100,
                    "lr": 0.0001,
                    "betas": (0.9, 0.999),
                    "schedule": "constant",
                },
            },
        }
    )

    latent: Count = 64
    """numbers of a query, and of each item"""
    memory: Literal["paper"] | Count = 100
    """items; paper: 100 for grey images, 500 for colour"""
    shrinkage: Threshold = 1.0
    """weights of items up to this multiple of 1 / ``memory`` become 0"""
    entropy_weight: EntropyWeight = 0.0002
    """of the entropy of the items' weights, beside a sum of squares over an image's pixels"""

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the one step."""
        memory = paper_memory(networks.channels) if self.memory == "paper" else self.memory
        step = MemaeStep(
            networks=networks,
            memory=memory,
            shrinkage=self.shrinkage,
            entropy_weight=self.entropy_weight,
        )
        return ((step, self.training),)
