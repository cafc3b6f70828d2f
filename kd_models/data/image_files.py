"""Images that stay files: found and checked once, decoded each time they are asked for."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

from torch import Tensor

from kd_models.data.errors import DataError, UnreadableImage
from kd_models.data.read_image import SUFFIXES, decode, read_bytes

Unreadable = Literal["stop", "skip"]
"""What a file that cannot be read does: it stops the loading, or is left out and noted."""


@dataclass(frozen=True)
class ImageFile:
    """An image that could be read.

    `name`: its path inside the tree. `sha256`: of its bytes. `size`: (H, W) as decoded.
    """

    name: str
    sha256: bytes
    size: tuple[int, int]


class ImageFiles(Sequence[Tensor]):
    """Images decoded, as uint8 (C, H, W), each time they are asked for.

    Photographs are large and the networks' inputs small: the tree is never in memory whole.
    Asking raises DataError where the file is no longer the one that was fingerprinted.
    """

    def __init__(self, root: Path, files: Sequence[ImageFile]) -> None:
        self._root = root
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageFiles": ...
    def __getitem__(self, index: int | slice) -> "Tensor | ImageFiles":
        if isinstance(index, slice):
            return ImageFiles(self._root, self.files[index])
        file = self.files[index]
        return decode(unchanged_bytes(self._root, file), self._root / file.name)

    def take(self, indices: Sequence[int]) -> "ImageFiles":
        """Those images, in the order of `indices`, decoded no sooner than these are."""
        return ImageFiles(self._root, [self.files[index] for index in indices])


def unchanged_bytes(root: Path, file: ImageFile) -> bytes:
    """The file's bytes; raises DataError where they are not those that were loaded."""
    path = root / file.name
    content = read_bytes(path)
    if hashlib.sha256(content).digest() != file.sha256:
        raise DataError(f"{path} changed while it was in use; load the dataset again")
    return content


def image_paths(folder: Path) -> Iterator[Path]:
    """Yields every image file below `folder`, as the loaders find them, in no order.

    Hidden files and folders and files without an image suffix are left out.
    """
    seen: set[str] = set()
    # Links are followed, since data often lies elsewhere; `seen` ends a link that points back up.
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def image_names(root: Path, part: str) -> list[str]:
    """The paths inside `root` of all images below its folder `part`, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in image_paths(root / part))


def read_folder(
    root: Path,
    part: str,
    unreadable: Unreadable,
    skipped: list[str],
    expected: Callable[[str], str],
) -> list[ImageFile]:
    """Every image below `root`/`part` that can be read, sorted by path; at least one.

    `expected` adds to a problem what the tree should look like.

    Raises DataError where the folder is missing, or has no image that can be read; and see
    `readable`.
    """
    folder = root / part
    if not folder.is_dir():
        raise DataError(expected(f"{folder} is not there"))
    names = image_names(root, part)
    if not names:
        raise DataError(expected(f"{folder} has no image in it"))
    found = [readable(root, name, unreadable, skipped) for name in names]
    files = [file for file in found if file is not None]
    if not files:
        raise DataError(
            f"none of the {len(names)} images in {folder} can be read; first {names[0]}"
        )
    return files


def readable(
    root: Path,
    name: str,
    unreadable: Unreadable,
    skipped: list[str],
    fits: ImageFile | None = None,
) -> ImageFile | None:
    """The image file `root`/`name`, if it can be decoded and has the size of `fits`, if given.

    If not, raises UnreadableImage, naming it, or with "skip" adds `name` to `skipped`.
    """
    path = root / name
    try:
        content = read_bytes(path)
        height, width = decode(content, path).shape[1:]
        if fits is not None and fits.size != (height, width):
            raise UnreadableImage(
                f"{path} is {height} pixels high and {width} wide; expected {fits.size[0]} and "
                f"{fits.size[1]}, as its image {fits.name}"
            )
    except UnreadableImage as error:
        if unreadable == "stop":
            raise UnreadableImage(f"{error} (unreadable: skip leaves such files out)") from error
        skipped.append(name)
        return None
    return ImageFile(name, hashlib.sha256(content).digest(), (height, width))
