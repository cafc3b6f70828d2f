"""The VAE's part of a sweep file: widths x one recipe."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from kd_models.methods.base import Step
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.trained import NetworkSettings
from kd_models.methods.vae.step import VaeStep
from kd_models.recipe import Recipe
from kd_models.values import Count


class VaeSettings(NetworkSettings):
    """Widths of encoder and decoder. The paper is of other images and networks; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {"training": {"epochs": 20, "lr": 0.001, "betas": (0.9, 0.999)}},
            # Section 5: minibatches of 100, by Adagrad with a little weight decay: Adam for that.
            "paper": {
                "training": {
                    "epochs": 100,
                    "batch_size": 100,
                    "lr": 0.001,
                    "betas": (0.9, 0.999),
                    "schedule": "constant",
                }
            },
        }
    )

    latent: Count = 64
    """numbers between encoder and decoder"""

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the one step."""
        return ((VaeStep(networks=networks), self.training),)
