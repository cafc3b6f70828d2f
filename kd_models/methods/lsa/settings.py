"""AND's part of a sweep file: widths x one recipe."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kd_models.methods.base import Step
from kd_models.methods.lsa.estimator import EstimatorSettings
from kd_models.methods.lsa.step import LsaStep
from kd_models.methods.networks import ConvNetworks
from kd_models.methods.trained import NetworkSettings
from kd_models.recipe import Recipe
from kd_models.values import Count


class LsaSettings(NetworkSettings):
    """Widths of encoder and decoder, and the estimator between them; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {
                "estimator": {"features": 8},
                "training": {"epochs": 20, "lr": 0.002, "betas": (0.9, 0.999)},
            },
            # The estimator is the paper's; the training is from elsewhere (see the card).
            "paper": {
                "estimator": {"features": 32},
                # Its lambda is 1 for images from 0 to 1. From -1 to 1 squares are four times those.
                "nll_weight": 4.0,
                "training": {
                    "epochs": 200,
                    "batch_size": 256,
                    "lr": 0.0001,
                    "betas": (0.9, 0.999),
                    "schedule": "constant",
                },
            },
        }
    )

    latent: Count = 64
    """numbers between encoder and decoder"""
    estimator: EstimatorSettings = EstimatorSettings()
    nll_weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda: the weight of the latent's negative log-likelihood beside the reconstruction"""

    def chain(self, networks: ConvNetworks) -> tuple[tuple[Step, Recipe | None], ...]:
        """Return the one step."""
        step = LsaStep(networks=networks, estimator=self.estimator, nll_weight=self.nll_weight)
        return ((step, self.training),)
