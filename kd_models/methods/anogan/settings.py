"""AnoGAN's part of a sweep file: widths x one recipe."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from kd_models.methods.anogan.search import MOST_STEPS, Search
from kd_models.methods.anogan.step import AnoganStep
from kd_models.methods.base import Step
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.trained import NetworkSettings
from kd_models.recipe import Recipe
from kd_models.values import Count


class AnoganSettings(NetworkSettings):
    """Widths of the networks. The paper's are for larger images; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {
                # Small batches: a GAN needs many steps before its images vary.
                "training": {"epochs": 40, "batch_size": 8, "lr": 0.002, "betas": (0.5, 0.999)}
            },
            # 20 epochs are the paper's, the rest is of the DCGAN that it takes over.
            "paper": {
                "training": {
                    "epochs": 20,
                    "batch_size": 128,
                    "lr": 0.0002,
                    "betas": (0.5, 0.999),
                    "schedule": "constant",
                },
                "latent": 100,
                "search": {"steps": MOST_STEPS},
            },
        }
    )

    latent: Count = 64
    """numbers that the generator makes an image of"""
    search: Search = Search()
    """how images are scored"""

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the one step."""
        return ((AnoganStep(networks=networks, search=self.search), self.training),)
