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
from kd_models.values import Value


class PaperSettings(Value):
    """What the paper sets by dataset (Section 4.1)."""

    epochs: int
    lambda_: float
    image_size: int
    """pixels a side"""


_SMALL = PaperSettings(epochs=100, lambda_=0.01, image_size=32)
_NATURAL = PaperSettings(epochs=300, lambda_=0.01, image_size=32)
_PAPER: Mapping[str, PaperSettings] = MappingProxyType(
    {
        "mnist": _SMALL,
        "fmnist": _SMALL,
        "digits": _SMALL,
        "cifar10": _NATURAL,
        "svhn": _NATURAL,
        "stl10": _NATURAL.model_copy(update={"image_size": 96}),
        "mvtec": PaperSettings(epochs=500, lambda_=0.1, image_size=128),
    }
)


def paper_settings(dataset: str) -> PaperSettings:
    """Return the paper's settings for a dataset by name.

    Those of the natural images for a dataset that the paper has not.
    """
    return _PAPER.get(dataset.partition(":")[0], _NATURAL)


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
        paper = paper_settings(dataset.name)
        lambdas = (paper.lambda_,) if self.lambdas == "paper" else self.lambdas
        recipe = self.training.recipe(paper.epochs)
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
                    image_size=paper.image_size if self.image_size == "paper" else self.image_size,
                    steps=tuple(chain),
                )
