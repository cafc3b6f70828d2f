"""Attention modules behind one contract: ``(channels) -> module``, (B, C, H, W) -> (B, C, H, W).

Each scales its input by weights between 0 and 1 that it computes from it.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

REDUCTION = 16
"""r of SE and scSE, as in their papers"""


class ECA(nn.Module):
    """Efficient channel attention (ECA_MKDAD, Eq. 6-10): neighbouring channels weigh each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        k = eca_kernel_size(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the input, its channels weighed."""
        y_B1C = self.pool(x_BCHW).flatten(2).transpose(1, 2)
        weights = torch.sigmoid(self.conv(y_B1C)).transpose(1, 2).unsqueeze(-1)
        return x_BCHW * weights


def eca_kernel_size(channels: int, gamma: float = 2, b: float = 1) -> int:
    """Return the odd number nearest to ``log2(channels) / gamma + b / gamma`` (Eq. 9).

    As in the ECA authors' code: cut to a whole number, and one more where that is even.
    """
    t = int(abs(math.log2(channels) / gamma + b / gamma))
    return t if t % 2 else t + 1


class SE(nn.Module):
    """Squeeze and excitation (ECA_MKDAD, Eq. 12): channels weighed through a bottleneck of C/r."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // REDUCTION)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the input, its channels weighed."""
        weights_BC: Tensor = self.excite(self.pool(x_BCHW).flatten(1))
        return x_BCHW * weights_BC[:, :, None, None]


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze and excitation (Roy et al. 2018).

    Of the two recalibrated maps the larger value at every pixel is kept, as ECA_MKDAD (Section 1)
    describes it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = SE(channels)
        self.spatial = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the input, weighed by channel or by pixel."""
        return torch.maximum(self.channel(x_BCHW), x_BCHW * torch.sigmoid(self.spatial(x_BCHW)))


ATTENTIONS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {"eca": ECA, "se": SE, "scse": SCSE}
)
