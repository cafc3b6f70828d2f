"""Cost of a network: parameters, FLOPs, latency, memory."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from kd_models.values import Value


@dataclass(frozen=True)
class Complexity:
    """The size of a network and of its work.

    Attributes:
        params: number of parameters.
        flops: as fvcore counts them (one multiply-accumulate = 1), for the given input.
    """

    params: int
    flops: int

    def __add__(self, other: "Complexity") -> "Complexity":
        return Complexity(self.params + other.params, self.flops + other.flops)


class NetworkCost(Value):
    """What it takes to run one network on one image, as exported (kd_score.measure).

    Latencies and memory are those of the machine that measured them.
    """

    params: int
    flops: int
    size_bytes: int
    """of the ONNX file in single precision"""
    peak_memory_bytes: int
    """of a process that scores one image on one thread, with Python and ONNX Runtime"""
    latency_us: float
    """the median of one image on one thread"""
    latency_us_p95: float
    latency_us_all_cores: float
    latency_us_all_cores_p95: float
    latency_us_batch32: float
    """of 32 images at once"""
    latency_us_batch32_p95: float
    latency_us_batch32_all_cores: float
    latency_us_batch32_all_cores_p95: float


class Cost(Value):
    """What it takes to score one image."""

    deployed: NetworkCost
    """all that must be deployed, a teacher too that the student is compared with"""
    student: NetworkCost
    """the student's part"""

    def as_metrics(self) -> dict[str, float]:
        """Return every figure by name; those of the student's part begin with ``student_``."""
        student = {f"student_{name}": value for name, value in self.student.model_dump().items()}
        return {**self.deployed.model_dump(), **student}


COST_METRICS = tuple(f"{of}{name}" for of in ("", "student_") for name in NetworkCost.model_fields)
"""the names of :meth:`Cost.as_metrics`"""


def complexity(network: nn.Module, example: Tensor) -> Complexity:
    """Count parameters and, for one forward pass of ``example`` (B, C, H, W), FLOPs.

    The network is counted in evaluation mode and left in the modes it was found in.
    Additions, activations and pooling that fvcore has no rule for count as nothing,
    which gives both papers' figures (docs/adr/0001 and 0004).
    """
    # fvcore traces with torch.jit, which warns of its own deprecation, on import too.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.jit")
    from fvcore.nn import FlopCountAnalysis  # seconds to import, and few callers count

    with _evaluating(network):
        analysis = FlopCountAnalysis(network, example)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        flops = int(analysis.total())
    return Complexity(params=sum(p.numel() for p in network.parameters()), flops=flops)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and afterwards every part of it back into its own."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
