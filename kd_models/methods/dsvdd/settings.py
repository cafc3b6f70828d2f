"""Deep SVDD's part of a sweep file: objectives x widths, after one auto-encoder for each widths."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import Variant
from kd_models.methods.dsvdd.networks import Contrast, Latent, LenetNetworks, LenetWidths
from kd_models.methods.dsvdd.step import AutoEncoderStep, Decay, Outside, SvddObjective, SvddStep
from kd_models.methods.named_recipes import RecipeSettings
from kd_models.methods.networks import IMAGE_SIZE
from kd_models.recipe import Recipe

_PAPER_WIDTHS: Mapping[int, LenetWidths] = MappingProxyType({1: (8, 4), 3: (32, 64, 128)})
"""Section 4.2, by the channels of images: of MNIST, and of CIFAR-10"""
_PAPER_LATENT: Mapping[int, int] = MappingProxyType({1: 32, 3: 128})

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Small batches: of a hundred images, few steps would leave the running statistics of the
        # auto-encoder behind, and the centre, which is found by them, away from the codes.
        "recommended": {
            "pretraining": {"epochs": 20, "batch_size": 32, "lr": 0.001, "betas": (0.9, 0.999)},
            "training": {"epochs": 20, "batch_size": 32, "lr": 0.001, "betas": (0.9, 0.999)},
        },
        # As the authors' published commands for CIFAR-10: 250 + 100 and 50 + 100 epochs at two
        # rates, for which a cosine from the first of them stands.
        "paper": {
            "pretraining": {
                "epochs": 350,
                "batch_size": 200,
                "lr": 0.0001,
                "betas": (0.9, 0.999),
            },
            "training": {"epochs": 150, "batch_size": 200, "lr": 0.0001, "betas": (0.9, 0.999)},
        },
    }
)


class DsvddSettings(RecipeSettings):
    """Objectives x widths (Deep SVDD, ICML 2018)."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = RECIPES

    objectives: Annotated[tuple[SvddObjective, ...], Field(min_length=1)] = ("one-class",)
    """what the second stage minimises, Eq. 4 or Eq. 3; the axis ``objective``"""
    widths: Literal["paper"] | Annotated[tuple[LenetWidths, ...], Field(min_length=1)] = "paper"
    """filters of the encoder's modules; ``paper``: 8-4 of grey images, 32-64-128 of coloured"""
    latent: Literal["paper"] | Latent = "paper"
    """numbers of a code, a multiple of 16; ``paper``: 32 of grey images, 128 of coloured"""
    contrast: Contrast = "l1"
    """what is done to each image first: global contrast normalisation, or nothing"""
    nu: Outside = 0.1
    """share of training images that may lie outside of a soft boundary"""
    weight_decay: Decay = 1e-6
    """lambda, of both stages"""
    pretraining: Recipe = Recipe()
    """of the auto-encoder"""
    training: Recipe = Recipe()
    """of the hypersphere"""

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the batch sizes of both stages."""
        return {
            "pretraining.batch_size": self.pretraining.batch_size,
            "training.batch_size": self.training.batch_size,
        }

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each objective and widths."""
        channels = dataset.channels
        all_widths = (_PAPER_WIDTHS[channels],) if self.widths == "paper" else self.widths
        latent = _PAPER_LATENT[channels] if self.latent == "paper" else self.latent
        for objective, widths in product(self.objectives, all_widths):
            networks = LenetNetworks(
                channels=channels, widths=widths, latent=latent, contrast=self.contrast
            )
            first = AutoEncoderStep(networks=networks, weight_decay=self.weight_decay)
            second = SvddStep(
                networks=networks,
                weight_decay=self.weight_decay,
                objective=objective,
                nu=self.nu if objective == "soft-boundary" else None,
            )
            axes = {"objective": objective, "widths": list(widths)}
            chain = ((first, self.pretraining), (second, self.training))
            yield Variant(axes, IMAGE_SIZE, chain)
