"""What a sweep file says of every method whose students learn layers of a fixed VGG16."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kd_models.methods.distilled import Layers, Precision, check_layers
from kd_models.methods.named_recipes import RecipeSettings
from kd_models.methods.vgg16 import SMALLEST_IMAGE, StudentWidth
from kd_models.methods.vgg16_weights import IMAGENET
from kd_models.recipe import Fraction, Recipe
from kd_models.values import Count, Value


class PaperSettings(Value):
    """What Zhou and Xing (2023, Section 4.1) set by dataset."""

    epochs: int
    image_size: int
    """pixels a side"""


_SMALL = PaperSettings(epochs=100, image_size=32)
_NATURAL = PaperSettings(epochs=300, image_size=32)
_PAPER: Mapping[str, PaperSettings] = MappingProxyType(
    {
        "mnist": _SMALL,
        "fmnist": _SMALL,
        "digits": _SMALL,
        "cifar10": _NATURAL,
        "svhn": _NATURAL,
        "stl10": PaperSettings(epochs=300, image_size=96),
        "mvtec": PaperSettings(epochs=500, image_size=128),
    }
)


def paper_settings(dataset: str) -> PaperSettings:
    """Return the paper's settings for a dataset by name.

    Those of the natural images for a dataset that the paper has not.
    """
    return _PAPER.get(dataset.partition(":")[0], _NATURAL)


class DistilTraining(Value):
    """How students are trained; see Recipe.

    Zhou and Xing (2023) give Adam with lr 0.1 and batch 32 and name no schedule. Without the decay
    AUROC swings from epoch to epoch (docs/lab-notes.md), so the cosine is the default.
    """

    epochs: Literal["paper"] | Count = "paper"
    """paper: 100, 300 or 500, by dataset"""
    batch_size: Count = 32
    lr: Annotated[float, Field(gt=0)] = 0.1
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Literal["cosine", "constant"] = "cosine"

    def recipe(self, paper_epochs: int) -> Recipe:
        """Return the recipe, with the paper's epochs where these were asked for."""
        epochs = paper_epochs if self.epochs == "paper" else self.epochs
        return Recipe.model_validate({**self.model_dump(), "epochs": epochs})


class PretrainedTeacherSettings(Value):
    """The fixed teacher: VGG16, trained on ImageNet by others."""

    weights: str = Field(
        default_factory=lambda: os.environ.get("KD_VGG16_WEIGHTS") or IMAGENET, min_length=1
    )
    """imagenet1k_v1 (torchvision's), random, or the path or URI of a state dict"""
    precision: Precision = "float32"
    """of its outputs for the training images; float16 halves the memory"""


class DistilledSettings(RecipeSettings):
    """Students, the layers that they learn, images, training and teacher."""

    student_widths: Annotated[tuple[StudentWidth, ...], Field(min_length=1)] = ("lightweight",)
    training_layers: Layers
    scoring_layers: Layers
    image_size: Literal["paper"] | Annotated[int, Field(ge=SMALLEST_IMAGE)] = "paper"
    """pixels a side; paper: 128 for mvtec, 96 for stl10, 32 else"""
    training: DistilTraining = DistilTraining()
    teacher: PretrainedTeacherSettings = Field(default_factory=PretrainedTeacherSettings)

    @property
    def pretrained_source(self) -> str:
        """Return where the teacher's weights are."""
        return self.teacher.weights

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        for width in self.student_widths:
            check_layers(self.training_layers, self.scoring_layers, width)
        return self

    def image_size_for(self, dataset: str) -> int:
        """Return the pixels a side of a dataset's images."""
        return paper_settings(dataset).image_size if self.image_size == "paper" else self.image_size

    def recipe_for(self, dataset: str) -> Recipe:
        """Return how students of a dataset are trained."""
        return self.training.recipe(paper_settings(dataset).epochs)

    def batch_sizes(self) -> Mapping[str, int]:
        """Return the students' batch size."""
        return {"training.batch_size": self.training.batch_size}
