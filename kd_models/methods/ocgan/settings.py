"""OCGAN's part of a sweep file: widths x one recipe for each of two steps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from kd_models.methods.base import Step
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.ocgan.mining import Mining
from kd_models.methods.ocgan.step import Constraints, OcganStep
from kd_models.methods.trained import NetworkSettings
from kd_models.recipe import Recipe
from kd_models.values import Count

# The authors' code: 200 epochs, mining after the 150th.
_PAPER = {"batch_size": 512, "lr": 0.0002, "betas": (0.5, 0.999), "schedule": "constant"}


class OcganSettings(NetworkSettings):
    """Widths of encoder, decoder and classifier, and what constrains the latents; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {
                "training": {"epochs": 15, "batch_size": 16, "lr": 0.002},
                "second_step": {"epochs": 5, "batch_size": 16, "lr": 0.0005},
            },
            "paper": {
                "latent": 16,
                "training": {"epochs": 150, **_PAPER},
                "second_step": {"epochs": 50, **_PAPER},
            },
        }
    )

    latent: Count = 64
    """numbers between encoder and decoder"""
    constraints: Constraints = Constraints()
    """what constrains these numbers"""
    mining: Mining = Mining()
    """how informative negatives are mined, in the second step"""
    second_step: Recipe | None = Recipe()
    """the training that goes on with mined latents after the one with random ones; None for none"""

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch sizes of the first step, and of the second if there is one."""
        sizes = dict(super().batch_sizes())
        if self.second_step is not None:
            sizes["second_step.batch_size"] = self.second_step.batch_size
        return sizes

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the step with random latents, and the one with mined ones if there is one."""
        first = OcganStep(networks=networks, constraints=self.constraints)
        if self.second_step is None:
            return ((first, self.training),)
        second = first.model_copy(update={"mining": self.mining})
        return ((first, self.training), (second, self.second_step))
