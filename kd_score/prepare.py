"""An image's pixels as a detector takes them, the same as when it was trained.

Shapes: H x W pixels as stored, C channels (1 or 3), S pixels a side of what is scored.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""share of red, green and blue in grey: ITU-R BT.601, as Pillow's convert("L")"""


def prepared(pixels: NDArray[np.uint8], *, image_size: int, channels: int) -> Floats:
    """Return an image (C, S, S) with values from 0 to 255, not rounded.

    RGB becomes grey by the BT.601 luma weights, grey is repeated to three channels. Resizing is
    bilinear with antialiasing, to exactly S x S whatever the aspect ratio: what
    ``kd_models.data.to_model_input`` does, before it scales to [-1, 1].

    Args:
        pixels: (H, W) or (H, W, 3).
        image_size: S.
        channels: C.
    """
    planes_CHW = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    image = planes_CHW.astype(np.float32)
    if channels == 1 and len(image) == 3:
        image = np.tensordot(np.array(LUMA, np.float32), image, 1)[None]
    height, width = image.shape[1:]
    if (height, width) != (image_size, image_size):
        image = image @ _triangles(width, image_size).T
        image = _triangles(height, image_size) @ image
    image = image.clip(0, 255)
    return np.ascontiguousarray(np.broadcast_to(image, (channels, image_size, image_size)))


def _triangles(length: int, size: int) -> Floats:
    """Return the weights (S, length) of a line's pixels in each of S that it is resized to.

    A pixel of the result is the mean of those around its centre, weighted by a triangle as wide as
    two pixels of the result or of the line, whichever are larger.
    """
    scale = length / size
    reach = max(scale, 1.0)
    centres_S1 = (np.arange(size)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(length)[None] + 0.5 - centres_S1) / reach
    weights = (1 - distances).clip(min=0)
    shares: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return shares
