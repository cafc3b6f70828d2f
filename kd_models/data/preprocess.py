"""Conversion of raw images to the networks' inputs.

Shapes: N images, C channels, H x W as stored, S x S as wanted.
"""

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kd_models.data.converted import ConvertedImages, ConvertedMasks
from kd_models.data.errors import DataError
from kd_models.data.image_files import ImageFiles
from kd_models.data.image_set import Images
from kd_models.data.mask_files import MaskFiles
from kd_models.data.read_image import MEMORY, bytes_of
from kd_models.threads import cores, in_threads

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")
_CHUNK_VALUES = 1 << 23


def to_model_input(images: Images, *, image_size: int, channels: int) -> Tensor:
    """Resize and scale raw images to float32 (N, channels, S, S) in [-1, 1].

    Resizing is bilinear with antialiasing, to exactly S x S whatever the aspect ratio. Grey is
    repeated to three channels; RGB becomes grey by the BT.601 luma weights. Images are converted
    in chunks, so that the memory needed beyond the result does not grow with N, even if the
    sequence reads its images only when asked.

    Args:
        images: uint8, (N, C, H, W) or a sequence of (C, H, W), C 1 or 3; or images that were
            converted to this already.
        image_size: S, in pixels.
        channels: 1 or 3.

    Raises:
        DataError: the images have another dtype, shape or number of channels, or the wanted size
            or number of channels is none that networks take.
    """
    if channels not in (1, 3):
        raise DataError(f"channels is {channels}; the networks take 1 (grey) or 3 (RGB)")
    if image_size < 1:
        raise DataError(f"image_size is {image_size}; expected at least 1")
    if isinstance(images, ConvertedImages):
        return images.tensor(image_size, channels)
    result = torch.empty(len(images), channels, image_size, image_size)
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise DataError(f"images have shape {tuple(images.shape)}; expected (N, C, H, W)")
        step = max(1, _CHUNK_VALUES // max(1, images[:1].numel()))
        for start in range(0, len(images), step):
            result[start : start + step] = _convert(
                images[start : start + step], image_size, channels
            )
    else:
        sequence = images

        def convert(index: int) -> None:
            image = sequence[index]
            if image.ndim != 3:
                raise DataError(f"an image has shape {tuple(image.shape)}; expected (C, H, W)")
            result[index] = _convert(image[None], image_size, channels)[0]

        if isinstance(images, ImageFiles):
            _for_each_file(convert, [file.size for file in images.files])
        else:
            for index in range(len(images)):
                convert(index)
    return result


def _for_each_file(convert: Callable[[int], None], sizes: Sequence[tuple[int, int]]) -> None:
    """Convert every image or mask of a sequence, several at a time, within the memory for them."""

    def work(index: int) -> None:
        torch.set_num_threads(1)  # or each thread would have threads of its own for every core
        with MEMORY.holding(bytes_of(sizes[index])):
            convert(index)

    threads = torch.get_num_threads()
    try:
        deque(in_threads(work, range(len(sizes)), cores()), maxlen=0)
    finally:
        torch.set_num_threads(threads)


def to_model_masks(
    masks: Sequence[Tensor | None] | ConvertedMasks, *, image_size: int
) -> tuple[Tensor, Tensor]:
    """Resize masks like their images, to exactly S x S.

    Each pixel takes the value of the mask's pixel in which its centre lies ("nearest-exact"). If
    all marks of a mask lie between those centres, each pixel with a mark in it is marked.

    Args:
        masks: bool (H, W) each, or None where there is none; or masks converted already.
        image_size: S, in pixels.

    Returns:
        The masks, bool (N, S, S), all False where there is none; and where there is one, bool (N,).
    """
    if isinstance(masks, ConvertedMasks):
        return masks.tensors(image_size)
    result = torch.zeros(len(masks), image_size, image_size, dtype=torch.bool)
    known = torch.zeros(len(masks), dtype=torch.bool)

    def convert(index: int) -> None:
        mask = masks[index]
        if mask is None:
            return
        known[index] = True
        wanted, stored = (image_size, image_size), mask[None, None]
        result[index] = functional.interpolate(
            stored.to(torch.uint8), size=wanted, mode="nearest-exact"
        )[0, 0].bool()
        if mask.any() and not result[index].any():
            result[index] = functional.adaptive_max_pool2d(stored.float(), wanted)[0, 0].bool()

    if isinstance(masks, MaskFiles):
        _for_each_file(convert, [masks.size(index) for index in range(len(masks))])
    else:
        for index in range(len(masks)):
            convert(index)
    return result, known


def _convert(images: Tensor, size: int, channels: int) -> Tensor:
    if images.dtype != torch.uint8:
        raise DataError(f"images are {images.dtype}; expected raw uint8 values, 0 to 255")
    if images.shape[1] not in (1, 3):
        raise DataError(f"images have {images.shape[1]} channels; expected 1 (grey) or 3 (RGB)")
    x = images.float()
    if channels == 1 and x.shape[1] == 3:
        x = x.mul_(x.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if x.shape[2:] != (size, size):
        x = functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    x = x.clamp(0, 255) / 127.5 - 1
    return x.expand(-1, channels, -1, -1)
