"""Images and masks that were converted for networks already, and may lie on another machine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_models.data.errors import DataError

Shape = TypeVar("Shape", int, tuple[int, int])
Fetch = Callable[[], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of an array that is kept in blocks, each of which is fetched when it is asked for.

    Attributes:
        blocks: fetch arrays (n, ...), whose rows are numbered through.
        starts: the number of each block's first row, and the number of all rows.
        chosen: the numbers of these rows, int64; -1 where a row was left out.
    """

    blocks: tuple[Fetch, ...]
    starts: tuple[int, ...]
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, indices: Sequence[int]) -> "Rows":
        """Return the rows at ``indices``, in that order."""
        return replace(self, chosen=self.chosen[np.asarray(indices, dtype=np.int64)])

    def read(self) -> NDArray[Any]:
        """Return the rows, (n, ...).

        Raises:
            DataError: one of them was left out.
        """
        if (self.chosen < 0).any():
            raise DataError("an image was asked for that this sweep was said not to use")
        result: NDArray[Any] | None = None
        for fetch, start, end in zip(self.blocks, self.starts, self.starts[1:], strict=False):
            (where,) = np.nonzero((self.chosen >= start) & (self.chosen < end))
            if len(where):
                block = fetch()
                if result is None:
                    result = np.empty((len(self.chosen), *block.shape[1:]), block.dtype)
                result[where] = block[self.chosen[where] - start]
        return np.empty(0, np.float32) if result is None else result


@dataclass(frozen=True, eq=False)
class ConvertedImages:
    """Images as :func:`to_model_input` returns them.

    Attributes:
        rows: by image size and channels.
    """

    rows: Mapping[tuple[int, int], Rows]

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def take(self, indices: Sequence[int]) -> "ConvertedImages":
        """Return the images at ``indices``, in that order."""
        return ConvertedImages({shape: rows.take(indices) for shape, rows in self.rows.items()})

    def tensor(self, image_size: int, channels: int) -> Tensor:
        """Return the images, float32 (N, channels, S, S).

        Raises:
            DataError: they were converted for other networks.
        """
        return _read(self.rows, (image_size, channels))


@dataclass(frozen=True, eq=False)
class ConvertedMasks:
    """Masks as :func:`to_model_masks` returns them.

    Attributes:
        rows: by image size.
        known: bool (N,), where there is a mask.
        of_files: bool (N,), where it comes from a file.
    """

    rows: Mapping[int, Rows]
    known: NDArray[np.bool_]
    of_files: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.known)

    @property
    def has_files(self) -> bool:
        """Return whether there is a mask file for at least one of the images."""
        return bool(self.of_files.any())

    def take(self, indices: Sequence[int]) -> "ConvertedMasks":
        """Return the masks of the images at ``indices``, in that order."""
        rows = {size: rows.take(indices) for size, rows in self.rows.items()}
        where = np.asarray(indices, dtype=np.int64)
        return ConvertedMasks(rows, self.known[where], self.of_files[where])

    def tensors(self, image_size: int) -> tuple[Tensor, Tensor]:
        """Return the masks, bool (N, S, S), and where there is one, bool (N,).

        Raises:
            DataError: they were converted for other networks.
        """
        return _read(self.rows, image_size), torch.from_numpy(self.known)


def _read(rows: Mapping[Shape, Rows], shape: Shape) -> Tensor:
    if shape not in rows:
        raise DataError(f"converted for {', '.join(map(str, rows))}, and asked for as {shape}")
    return torch.from_numpy(rows[shape].read())
