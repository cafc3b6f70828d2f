"""The part of a sweep file that is the one-class SVM's: values of nu."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kd_models.methods.kernels import KernelSettings
from kd_models.methods.ocsvm.step import Gamma, Nu, OcsvmDetector, OcsvmStep
from kd_models.values import Count


class OcsvmSettings(KernelSettings):
    """Values of nu, and the kernel."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {},
            # Section 6: digits of 16 x 16 pixels from -1 to 1, exp(-|x - y|^2 / (0.5 * 256)),
            # nu of 5% to find outliers, all images.
            "paper": {
                "space": {"side": 16, "components": None},
                "memory": 8000,
                "nu": (0.05,),
                "gamma": 1 / 128,
            },
        }
    )

    nu: Annotated[tuple[Nu, ...], Field(min_length=1)] = (0.1,)
    """share of the normal images that may lie outside the boundary; the axis"""
    gamma: Gamma = "scale"
    """of the kernel exp(-gamma |x - y|^2); ``scale``: 1 / the sum of all variances"""
    margin: Count = 64
    """support vectors that there is room for on the boundary, besides those outside; where they
    are more it is fitted to fewer images"""

    def steps(self, shared: Mapping[str, Any]) -> Iterator[OcsvmStep]:
        """Yield a step for each nu."""
        for nu in self.nu:
            detector = OcsvmDetector(**shared, nu=nu, gamma=self.gamma, margin=self.margin)
            yield OcsvmStep(fitted=detector)
