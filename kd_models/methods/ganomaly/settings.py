"""GANomaly's part of a sweep file: widths x loss weights."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import Variant
from kd_models.methods.ganomaly.losses import Distance
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.ganomaly.objectives import GanomalyWeights
from kd_models.methods.ganomaly.step import GanomalyStep
from kd_models.methods.named_recipes import RecipeSettings
from kd_models.methods.networks import IMAGE_SIZE, WIDE, Normalisation, Widths
from kd_models.recipe import Recipe

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Settled for teachers of this make (docs/lab-notes.md).
        "recommended": {"training": {"epochs": 5, "lr": 0.0001}},
        # Section 4.2: 15 epochs (25 for the X-ray images). The authors' code has batches of 64.
        "paper": {
            "training": {"epochs": 15, "batch_size": 64, "lr": 0.002, "schedule": "constant"},
            "distance": "mse",
        },
    }
)


class GanomalySettings(RecipeSettings):
    """Widths of the generator x weights of its losses (GANomaly, ACCV 2018)."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = RECIPES

    widths: Annotated[tuple[Widths, ...], Field(min_length=1)] = (WIDE,)
    loss_weights: Annotated[tuple[GanomalyWeights, ...], Field(min_length=1)] = (GanomalyWeights(),)
    training: Recipe = Recipe()
    normalisation: Normalisation = "batch"
    distance: Distance = "l2"

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch size."""
        return {"training.batch_size": self.training.batch_size}

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each of the widths and loss weights."""
        for widths, weights in product(self.widths, self.loss_weights):
            network = NetworkConfig(
                channels=dataset.channels, widths=widths, normalisation=self.normalisation
            )
            step = GanomalyStep(network=network, loss_weights=weights, distance=self.distance)
            axes = {"widths": list(widths), "loss_weights": weights.model_dump()}
            yield Variant(axes, IMAGE_SIZE, ((step, self.training),))
