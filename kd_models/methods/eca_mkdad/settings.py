"""ECA_MKDAD's part of a sweep file: placements x student widths x lambda."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from kd_models.data import DatasetRow
from kd_models.methods.base import Step, Variant
from kd_models.methods.distilled import Layers
from kd_models.methods.distilled_settings import DistilledSettings
from kd_models.methods.eca_mkdad.calibration import FeatureCalibration
from kd_models.methods.eca_mkdad.placements import placement
from kd_models.methods.eca_mkdad.scores import Score, StudentConfig
from kd_models.methods.eca_mkdad.step import SCORING_LAYERS, TRAINING_LAYERS, DistilConfig
from kd_models.recipe import Recipe


def paper_lambda(dataset: str) -> float:
    """Return the paper's weight of the direction for a dataset by name (Section 4.1)."""
    return 0.1 if dataset.partition(":")[0] == "mvtec" else 0.01


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "recommended": {},
        # Section 4.1, which names no decay of the rate.
        "paper": {
            "training": {"epochs": "paper", "batch_size": 32, "lr": 0.1, "schedule": "constant"}
        },
    }
)


class EcaMkdadSettings(DistilledSettings):
    """Placements x lambda x student widths (ECA_MKDAD, 2023)."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = RECIPES

    placements: Annotated[tuple[str, ...], Field(min_length=1)] = ("eca",)
    lambdas: (
        Literal["paper"] | Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    ) = "paper"
    """weights of the direction in Eq. 13; paper: 0.1 for mvtec, 0.01 else"""
    training_layers: Layers = TRAINING_LAYERS
    scoring_layers: Layers = SCORING_LAYERS
    scores: Annotated[tuple[Score, ...], Field(min_length=1)] = ("paper",)
    """how the trained students score images; none of them trains anything again"""

    @field_validator("placements")
    @classmethod
    def _known_placements(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            placement(name)
        return names

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each placement, width, lambda and score."""
        lambdas = (paper_lambda(dataset.name),) if self.lambdas == "paper" else self.lambdas
        recipe = self.recipe_for(dataset.name)
        for name, width, lambda_ in product(self.placements, self.student_widths, lambdas):
            step = DistilConfig(
                student=StudentConfig(placement=name, width=width),
                lambda_=lambda_,
                training_layers=self.training_layers,
                scoring_layers=self.scoring_layers,
                teacher=pretrained_sha256 or "",
                precision=self.teacher.precision,
            )
            calibration = FeatureCalibration(
                student=step.student, scoring_layers=step.scoring_layers, teacher=step.teacher
            )
            for score in self.scores:
                chain: list[tuple[Step, Recipe | None]] = [(step, recipe)]
                if score == "calibrated":
                    chain.append((calibration, None))
                yield Variant(
                    axes={
                        **{"placement": name, "student_width": width, "lambda": lambda_},
                        "score": score,
                    },
                    image_size=self.image_size_for(dataset.name),
                    steps=tuple(chain),
                )
