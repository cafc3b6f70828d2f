"""Masks kept as files: they say which pixels of a test image are defective."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from kd_models.data.image_files import ImageFile, unchanged_bytes
from kd_models.data.read_image import decode_mask

MaskSource = ImageFile | tuple[int, int] | None
"""A mask's file; or the (H, W) of a good image, which needs none; or None: truth unknown."""


class MaskFiles(Sequence[Tensor | None]):
    """For each test image a bool (H, W), True where it is defective, or None where that is unknown.

    Good images are False everywhere. Masks are decoded each time they are asked for.

    Args:
        root: the folder of the tree.
        sources: of the masks, one for each test image.

    Raises:
        DataError: a mask is asked for whose file is no longer the one that was fingerprinted.
    """

    def __init__(self, root: Path, sources: Sequence[MaskSource]) -> None:
        self._root = root
        self.sources = tuple(sources)

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Tensor | None: ...
    @overload
    def __getitem__(self, index: slice) -> "MaskFiles": ...
    def __getitem__(self, index: int | slice) -> "Tensor | MaskFiles | None":
        if isinstance(index, slice):
            return MaskFiles(self._root, self.sources[index])
        source = self.sources[index]
        if source is None:
            return None
        if isinstance(source, ImageFile):
            return decode_mask(unchanged_bytes(self._root, source), self._root / source.name)
        return torch.zeros(source, dtype=torch.bool)

    def take(self, indices: Sequence[int]) -> "MaskFiles":
        """Return the masks of the images at ``indices``, in that order."""
        return MaskFiles(self._root, [self.sources[index] for index in indices])

    def size(self, index: int) -> tuple[int, int]:
        """Return the (H, W) of a mask; (0, 0) where there is none."""
        source = self.sources[index]
        if source is None:
            return 0, 0
        return source.size if isinstance(source, ImageFile) else source

    @property
    def has_files(self) -> bool:
        """Return whether there is a mask file for at least one of the images."""
        return any(isinstance(source, ImageFile) for source in self.sources)
