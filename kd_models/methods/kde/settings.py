"""The part of a sweep file that is the kernel density's: bandwidths, or how they are found."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kd_models.methods.kde.step import Bandwidth, KdeDetector, KdeStep
from kd_models.methods.kernels import KernelSettings


class KdeSettings(KernelSettings):
    """Bandwidths of the kernel. The paper is of no images; see the card."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {},
            # Ruff et al. 2018, Section 4.1: all pixels and images, 95% of the variance.
            "paper": {
                "space": {"side": 32, "components": 256, "variance": 0.95},
                "memory": 8000,
                "bandwidth": ("cv",),
            },
        }
    )

    bandwidth: Annotated[tuple[Bandwidth, ...], Field(min_length=1)] = ("scott",)
    """standard deviation of the kernel, in pixel values from -1 to 1: a number, ``scott``, or
    ``cv`` for that by which images left out are the likeliest; the axis"""

    def steps(self, shared: Mapping[str, Any]) -> Iterator[KdeStep]:
        """Yield a step for each bandwidth."""
        for bandwidth in self.bandwidth:
            yield KdeStep(fitted=KdeDetector(**shared, bandwidth=bandwidth))
