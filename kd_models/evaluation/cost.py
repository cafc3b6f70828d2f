"""Cost of a network: parameters, FLOPs and latency."""

import logging
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer

_RUNS, _SECONDS = 30, 1.0
"""a latency is the median of this many runs, or of as many as fit in this many seconds"""
_FEWEST_RUNS = 3


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


@dataclass(frozen=True)
class Cost:
    """What it takes to score one image.

    Latencies are of the machine they were measured on; see :func:`latency_ms`.

    Attributes:
        params: of all that must be deployed.
        flops: of all that must be deployed.
        latency_ms: of all that must be deployed.
        student_params: the student's part.
        student_flops: the student's part.
        student_latency_ms: the student's part.
    """

    params: int
    flops: int
    latency_ms: float
    student_params: int
    student_flops: int
    student_latency_ms: float


def measure_cost(scorer: Scorer, example: Tensor) -> Cost:
    """Return what a detector costs for one forward pass of ``example`` (B, C, S, S)."""
    student = complexity(scorer.student, example)
    deployed = student
    student_latency = deployed_latency = latency_ms(scorer.student, example)
    if scorer.teacher is not None:
        deployed = student + complexity(scorer.teacher, example)
        deployed_latency = latency_ms(scorer, example)
    return Cost(
        deployed.params,
        deployed.flops,
        deployed_latency,
        student.params,
        student.flops,
        student_latency,
    )


@torch.inference_mode()
def latency_ms(network: nn.Module, example: Tensor) -> float:
    """Measure one forward pass on the CPU in evaluation mode: milliseconds, the median of up to 30.

    Eager PyTorch runs on one thread: a device that scores images has few cores, and machines can
    be compared by one thread. Only the time that the thread ran is counted, so that other work on
    the machine does not matter.
    """
    with _evaluating(network), _one_thread():
        taken: list[float] = []
        network(example)  # the first pass also prepares kernels
        began = time.perf_counter()
        while len(taken) < _FEWEST_RUNS or (
            len(taken) < _RUNS and time.perf_counter() - began < _SECONDS
        ):
            start = time.thread_time()
            network(example)
            taken.append(time.thread_time() - start)
    return statistics.median(taken) * 1000


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


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
