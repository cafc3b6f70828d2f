"""RKDAD's part of a sweep file: student widths x weights of the layers' values."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from kd_models.data import DatasetRow
from kd_models.methods.base import Variant
from kd_models.methods.distilled import Layers
from kd_models.methods.distilled_settings import DistilledSettings
from kd_models.methods.rkdad.step import RkdadStep, Weight, check_relations

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # With the values beside the relations, students of few steps detect better; see the card.
        "recommended": {"value_weights": (10.0,), "training": {"epochs": 20}},
        # A student of the teacher's structure, and the relations alone. The training is that of the
        # paper whose table has RKDAD: its own is not at hand.
        "paper": {
            "student_widths": ("full",),
            "value_weights": (0.0,),
            "training": {"epochs": "paper", "batch_size": 32, "lr": 0.1, "schedule": "constant"},
        },
    }
)


class RkdadSettings(DistilledSettings):
    """Student widths x value weights (RKDAD, PRCV 2021)."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = RECIPES

    value_weights: Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0,)
    """of the layers' values beside their relations; 0: the relations alone"""
    training_layers: Layers = (2, 3, 4, 5)
    scoring_layers: Layers = (2, 3, 4, 5)

    @model_validator(mode="after")
    def _layers_relate(self) -> Self:
        for width in self.student_widths:
            check_relations(self.training_layers, self.scoring_layers, width)
        return self

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each student width and value weight."""
        recipe = self.recipe_for(dataset.name)
        for width, value_weight in product(self.student_widths, self.value_weights):
            step = RkdadStep(
                width=width,
                value_weight=value_weight,
                training_layers=self.training_layers,
                scoring_layers=self.scoring_layers,
                teacher=pretrained_sha256 or "",
                precision=self.teacher.precision,
            )
            yield Variant(
                axes={"student_width": width, "value_weight": value_weight},
                image_size=self.image_size_for(dataset.name),
                steps=((step, recipe),),
            )
