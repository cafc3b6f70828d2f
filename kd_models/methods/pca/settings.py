"""The part of a sweep file that is PCA's: numbers of components."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from kd_models.data import DatasetRow
from kd_models.methods.base import MethodSettings, Variant
from kd_models.methods.fitted import IMAGE_SIZE, Side
from kd_models.methods.pca.step import PcaDetector, PcaStep
from kd_models.values import Count


class PcaSettings(MethodSettings):
    """Numbers of principal components. The defaults are settled in docs/lab-notes.md."""

    components: Annotated[tuple[Count, ...], Field(min_length=1)] = (16,)
    side: Side = 16
    """pixels a side of the image that is looked at"""

    def variants(
        self, dataset: DatasetRow, images: int | None, pretrained_sha256: str | None
    ) -> Iterator[Variant]:
        """Yield a variant for each number of components."""
        for components in self.components:
            detector = PcaDetector(colours=dataset.channels, side=self.side, components=components)
            step = PcaStep(fitted=detector)
            yield Variant({"components": components}, IMAGE_SIZE, ((step, None),))
