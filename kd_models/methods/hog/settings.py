"""The part of a sweep file that is the gradients': numbers of prototypes."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import MethodSettings, Variant
from kd_models.methods.fitted import IMAGE_SIZE
from kd_models.methods.hog.step import HogDetector, HogStep
from kd_models.methods.prototypes import Projection, PrototypeSettings
from kd_models.values import Count


class HogSettings(MethodSettings):
    """Numbers of prototypes. The defaults are settled in docs/lab-notes.md."""

    prototypes: Annotated[tuple[Count, ...], Field(min_length=1)] = (64,)
    """how many there are, or one for each training image where there are fewer"""
    projection: Projection = Projection()
    """the space in which they are found"""

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each number of prototypes."""
        for prototypes in self.prototypes:
            asked = PrototypeSettings(prototypes=prototypes, **self.projection.model_dump())
            detector = HogDetector(colours=dataset.channels, fit=asked.of(images))
            step = HogStep(fitted=detector)
            yield Variant({"prototypes": prototypes}, IMAGE_SIZE, ((step, None),))
