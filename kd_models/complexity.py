"""Cost of a network: parameters and FLOPs."""

import logging
import warnings
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Complexity:
    """``flops`` as fvcore counts them (one multiply-accumulate = 1), for the given input."""

    params: int
    flops: int


def complexity(network: nn.Module, example: Tensor) -> Complexity:
    """Count parameters and, for one forward pass of ``example`` (B, C, H, W), FLOPs.

    The network is counted in evaluation mode and left in the modes it was found in.
    Additions, activations and pooling that fvcore has no rule for count as nothing,
    which is how both papers' figures come out (papers.md, golden numbers).
    """
    # fvcore traces with torch.jit, which warns of its own deprecation, on import too.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.jit")
    from fvcore.nn import FlopCountAnalysis  # seconds to import, and few callers count

    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        analysis = FlopCountAnalysis(network, example)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        logging.getLogger("fvcore").setLevel(logging.ERROR)
        flops = int(analysis.total())
    finally:
        for module, training in modes.items():
            module.training = training
    return Complexity(params=sum(p.numel() for p in network.parameters()), flops=flops)
