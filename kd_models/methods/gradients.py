"""Which way an image's brightness changes, and where: coarse histograms of its gradients.

Shapes: B images, C channels, S pixels a side.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CELL = 4
"""pixels a side of a cell"""
_DIRECTIONS = 4


class GradientHistograms(nn.Module):
    """Histograms of oriented gradients (Dalal and Triggs 2005), as few and as cheap as can be.

    How much brightness is gained, and how much lost, from each pixel to the next one to the right
    and below, the most of any channel; the mean of these four over blocks of 3 x 3 cells of 4 x 4
    pixels, around every cell, what lies around the image being empty; the square root of that.

    Args:
        image_size: S, a multiple of the cells' side.

    Attributes:
        size: how many numbers an image has, 4 (S / 4)^2.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self._cells = image_size // CELL
        self.size = _DIRECTIONS * (image_size // CELL) ** 2

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """Return the histograms of each image as a row (B, 4 (S / 4)^2)."""
        right = functional.pad(x_BCSS[..., 1:] - x_BCSS[..., :-1], (0, 1))
        below = functional.pad(x_BCSS[..., 1:, :] - x_BCSS[..., :-1, :], (0, 0, 0, 1))
        changes = torch.stack([right, -right, below, -below], 1).relu().amax(2)
        cells = functional.adaptive_avg_pool2d(changes, self._cells)
        blocks = functional.avg_pool2d(cells, kernel_size=3, stride=1, padding=1)
        rows: Tensor = blocks.flatten(1).sqrt()
        return rows
