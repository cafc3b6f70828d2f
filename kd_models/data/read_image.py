"""One image file, or one mask, to a tensor."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import kd_score.read_image as files
from kd_models.threads import MemoryLimit

MEMORY = MemoryLimit(2 << 30)
"""for photographs at full size, of all threads together"""
_BYTES_A_PIXEL = 28
"""the most that reading or resizing one takes at a time, its file included, as measured: 19 of a
JPEG, 28 of 16 bits with transparency; a WebP with transparency takes 34"""


def bytes_of(size: tuple[int, int]) -> int:
    """Return about how much memory an image of (H, W) pixels takes while it is converted."""
    return size[0] * size[1] * _BYTES_A_PIXEL


def read_image(
    path: Path | str, *, depth: int | None = None, max_megapixels: float = files.MAX_MEGAPIXELS
) -> Tensor:
    """Read an image file as :func:`kd_score.read_image.read_raw`: uint8 (C, H, W), C 1 or 3.

    Args:
        path: the file.
        depth: the bits in use of a file with 16 bits a sample, which become 8; None for all.
        max_megapixels: the largest image to read.

    Raises:
        UnreadableImage: as read_raw.
    """
    return as_tensor(files.read_raw(path, max_megapixels=max_megapixels).in_8_bits(depth))


def as_tensor(pixels_HWC: NDArray[np.uint8]) -> Tensor:
    """Return pixels (H, W) or (H, W, 3) as a tensor (C, H, W)."""
    tensor = torch.from_numpy(pixels_HWC)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def decode_mask(content: bytes, path: Path, *, max_megapixels: float | None = None) -> Tensor:
    """Return a mask as :func:`kd_score.read_image.decode_mask`: bool (H, W)."""
    return torch.from_numpy(files.decode_mask(content, path, max_megapixels=max_megapixels))
