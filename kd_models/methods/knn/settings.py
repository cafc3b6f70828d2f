"""The part of a sweep file that is the nearest neighbours': how many count."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import MethodSettings, Variant
from kd_models.methods.fitted import IMAGE_SIZE, Side
from kd_models.methods.knn.step import KnnDetector, KnnStep
from kd_models.values import Count


class KnnSettings(MethodSettings):
    """Numbers of neighbours. The defaults are settled in docs/lab-notes.md."""

    neighbours: Annotated[tuple[Count, ...], Field(min_length=1)] = (5,)
    side: Side = 8
    """pixels a side of the image that is looked at"""
    memory: Count = 2000
    """normal images that are kept, or all where there are fewer"""

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each number of neighbours; fewer count where there are fewer."""
        memory = self.memory if images is None else min(self.memory, images)
        for neighbours in self.neighbours:
            detector = KnnDetector(
                colours=dataset.channels,
                side=self.side,
                memory=memory,
                neighbours=min(neighbours, memory),
            )
            step = KnnStep(fitted=detector)
            yield Variant({"neighbours": neighbours}, IMAGE_SIZE, ((step, None),))
