"""Photographs converted for networks before they travel: their files stay where they are."""

import itertools
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_models.data.converted import ConvertedImages, ConvertedMasks, Fetch, Rows
from kd_models.data.image_files import ImageFiles
from kd_models.data.image_set import Images, ImageSet
from kd_models.data.mask_files import MaskFiles
from kd_models.data.one_class import check_task
from kd_models.data.preprocess import to_model_input, to_model_masks
from kd_models.threads import told
from kd_score.names import printable

Keep = Callable[[NDArray[Any]], Fetch]


def convert_ahead(
    image_set: ImageSet,
    shapes: Collection[tuple[int, int]],
    classes: Collection[str],
    keep: Keep,
    tell: Callable[[str], None],
    *,
    block_bytes: int = 64 << 20,
) -> ImageSet:
    """Return a dataset whose photographs and masks were read, and converted for networks.

    A dataset that is no photographs is returned as it is.

    Args:
        image_set: the dataset.
        shapes: image sizes with the channels that networks take.
        classes: the canonical keys of the normal classes; images that no task with them uses are
            left out.
        keep: takes an array, and returns what fetches it again.
        tell: told how far it is, where it takes long.
        block_bytes: how many to convert, and later to fetch, at a time.

    Raises:
        DataError: an image or a mask has changed since it was loaded.
    """
    train, test = image_set.train, image_set.test
    if not (isinstance(train.images, ImageFiles) and isinstance(test.images, ImageFiles)):
        return image_set
    learned, tested = torch.zeros(len(train.images)).bool(), torch.zeros(len(test.images)).bool()
    for key in classes:
        chosen, also_tested, _ = check_task(image_set, key)
        learned, tested = learned | chosen, tested | also_tested
    convert = _Converter(keep, tell, printable(image_set.name), block_bytes)
    masks = image_set.masks
    return replace(
        image_set,
        train=replace(train, images=convert.images(train.images, learned, shapes)),
        test=replace(test, images=convert.images(test.images, tested, shapes)),
        masks=convert.masks(masks, tested, {size for size, _ in shapes})
        if isinstance(masks, MaskFiles)
        else None,
    )


class _Converter:
    def __init__(
        self, keep: Keep, tell: Callable[[str], None], name: str, block_bytes: int
    ) -> None:
        self._keep, self._tell, self._name = keep, tell, name
        self._block_bytes = block_bytes

    def images(
        self, files: ImageFiles, used: Tensor, shapes: Collection[tuple[int, int]]
    ) -> ConvertedImages:
        def converted(size: int, channels: int) -> Callable[[list[int]], NDArray[Any]]:
            def part(indices: list[int]) -> NDArray[Any]:
                images: Images = files.take(indices)
                return to_model_input(images, image_size=size, channels=channels).numpy()

            return part

        return ConvertedImages(
            {
                (size, channels): self._rows(
                    used, 4 * channels * size * size, converted(size, channels), "images"
                )
                for size, channels in shapes
            }
        )

    def masks(self, files: MaskFiles, used: Tensor, sizes: Collection[int]) -> ConvertedMasks:
        def converted(size: int) -> Callable[[list[int]], NDArray[Any]]:
            def part(indices: list[int]) -> NDArray[Any]:
                return to_model_masks(files.take(indices), image_size=size)[0].numpy()

            return part

        rows = {size: self._rows(used, size * size, converted(size), "masks") for size in sizes}
        known = np.array([source is not None for source in files.sources])
        of_files = np.array([files.take([index]).has_files for index in range(len(files))])
        return ConvertedMasks(rows, known, of_files)

    def _rows(
        self, used: Tensor, row_bytes: int, part: Callable[[list[int]], NDArray[Any]], what: str
    ) -> Rows:
        """Convert the used ones, a block at a time, and keep each block."""
        indices = torch.nonzero(used).flatten().tolist()
        step = max(1, self._block_bytes // row_bytes)
        parts = [indices[start : start + step] for start in range(0, len(indices), step)]
        converted = (self._keep(part(each)) for each in parts)
        progress = f"{self._name}: blocks of {what} converted"
        blocks = tuple(told(converted, len(parts), progress, self._tell))
        starts = (0, *itertools.accumulate(map(len, parts)))
        chosen = np.full(len(used), -1, np.int64)
        chosen[indices] = np.arange(len(indices))
        return Rows(blocks, starts, chosen)
