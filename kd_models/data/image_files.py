"""Images kept as files: found and checked once, decoded each time they are asked for."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar, overload

from torch import Tensor

from kd_models.data.errors import DataError, UnreadableImage
from kd_models.data.options import LoadOptions
from kd_models.data.read_image import MEMORY, as_tensor, bytes_of
from kd_models.threads import cores, in_threads, told
from kd_score.image_paths import image_paths
from kd_score.names import printable, shown
from kd_score.read_image import (
    Levels,
    decode,
    depth_in_use,
    highest,
    read_bytes,
    size_of,
)

T = TypeVar("T")


@dataclass(frozen=True)
class ImageFile:
    """An image, or a mask, that could be read.

    Attributes:
        name: its path inside the tree.
        sha256: of its bytes.
        size: (H, W) as decoded.
        levels: of an image; None for a mask.
        depth: the bits in use where a sample has 16; None for all.
    """

    name: str
    sha256: bytes
    size: tuple[int, int]
    levels: Levels | None = None
    depth: int | None = None


class ImageFiles(Sequence[Tensor]):
    """Images decoded, as uint8 (C, H, W), each time they are asked for.

    The whole tree is never in memory, since photographs are large and the networks' inputs small.

    Args:
        root: the folder of the tree.
        files: the images.

    Raises:
        DataError: an image is asked for whose file is no longer the one that was fingerprinted.
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
        raw = decode(unchanged_bytes(self._root, file), self._root / file.name)
        return as_tensor(raw.in_8_bits(file.depth))

    def take(self, indices: Sequence[int]) -> "ImageFiles":
        """Return the images at ``indices``, in that order, not decoded yet."""
        return ImageFiles(self._root, [self.files[index] for index in indices])


def unchanged_bytes(root: Path, file: ImageFile) -> bytes:
    """Return the file's bytes.

    Raises:
        DataError: they are not those that were loaded.
    """
    path = root / file.name
    content = read_bytes(path)
    if hashlib.sha256(content).digest() != file.sha256:
        raise DataError(f"{shown(path)} changed while it was in use; load the dataset again")
    return content


def image_names(root: Path, part: str) -> list[str]:
    """Return the paths inside ``root`` of all images below its folder ``part``, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in image_paths(root / part))


def read_folder(
    root: Path,
    part: str,
    options: LoadOptions,
    skipped: list[str],
    expected: Callable[[str], str],
) -> list[ImageFile]:
    """Return every image below ``root``/``part`` that can be read, sorted by path; at least one.

    Args:
        root: the folder of the tree.
        part: the path inside it of the folder to read.
        options: as for :func:`readable`, and the largest images to read.
        skipped: gets the paths inside the tree of images that are skipped.
        expected: adds to a problem what the tree should look like.

    Raises:
        DataError: the folder is missing, or has no image that can be read.
        UnreadableImage: as :func:`readable`.
    """
    folder = root / part
    if not folder.is_dir():
        raise DataError(expected(f"{shown(folder)} is not there"))
    names = image_names(root, part)
    if not names:
        raise DataError(expected(f"{shown(folder)} has no image in it"))

    def look_at(content: bytes, path: Path) -> ImageFile:
        raw = decode(content, path, max_megapixels=options.max_megapixels)
        name = path.relative_to(root).as_posix()
        return ImageFile(name, hashlib.sha256(content).digest(), raw.size, raw.levels)

    def read(name: str) -> tuple[ImageFile | None, list[str]]:
        left_out: list[str] = []
        return readable(root, name, options, left_out, look_at), left_out

    files: list[ImageFile] = []
    what = f"{printable(part)}: images read"
    for file, left_out in told(in_threads(read, names, cores()), len(names), what, options.tell):
        files += [] if file is None else [file]
        skipped += left_out
    if not files:
        raise DataError(
            f"none of the {len(names)} images in {shown(folder)} can be read; "
            f"first {printable(names[0])}"
        )
    return files


def readable(
    root: Path,
    name: str,
    options: LoadOptions,
    skipped: list[str],
    look_at: Callable[[bytes, Path], T],
) -> T | None:
    """Return what ``look_at`` makes of the bytes and path of the file ``root``/``name``.

    If ``options.unreadable`` is "skip", the name of a file that cannot be read is added to
    ``skipped``, and None is returned.

    Raises:
        UnreadableImage: the file cannot be read and is not skipped; the message says what to do.
    """
    path = root / name
    try:
        content = read_bytes(path)
        with MEMORY.holding(bytes_of(size_of(content))):
            return look_at(content, path)
    except UnreadableImage as error:
        if options.unreadable == "stop":
            raise UnreadableImage(f"{error} (unreadable: skip leaves such files out)") from error
        skipped.append(name)
        return None


def with_depth(
    where: str,
    train: Sequence[ImageFile],
    test: Sequence[ImageFile],
    options: LoadOptions,
    notes: list[str],
) -> tuple[list[ImageFile], list[ImageFile], int | None]:
    """Set the bits in use of training and test images with 16 bits a sample.

    These are ``options.depth`` or, if that is None, the bits that the training images use; None
    where no training image has 16.

    Args:
        where: which images these are, for the notes.
        train: the training images.
        test: the test images.
        options: with the bits in use, if they are given.
        notes: gets what a person should know of the images.

    Returns:
        The training images and the test images with the bits in use, and these bits.
    """
    seen = deep_images(train)
    most = max((levels.high for _, levels in seen), default=0)
    depth = options.depth or (depth_in_use(most) if seen else None)
    if seen and highest(depth) < highest(None):
        notes.append(
            f"{where}: of 16-bit images {depth} bits are in use (training images reach {most}, "
            f"single pixels apart): 0 to {highest(depth)} is read as black to white"
        )
    deep = deep_images([*train, *test])
    if 0 < len(deep) < len(train) + len(test):
        notes.append(
            f"{where}: {len(deep)} of {len(train) + len(test)} images have 16 bits a sample, where "
            f"0 to {highest(depth)} is read as black to white, and the others 8, where it is 0 to "
            f"255; the first is {printable(deep[0][0].name)}"
        )
    above = [file for file, levels in deep_images(test) if levels.high > highest(depth)]
    if above:
        notes.append(
            f"{where}: {len(above)} of {len(test)} test images have values above {highest(depth)}, "
            f"the most that {depth} bits hold, and are white there; the first is "
            f"{printable(above[0].name)}"
        )
    ranges = [(_range(file.levels, depth), file.name) for file in train if file.levels]
    grey = [(values, name) for values, name in ranges if values[1] - values[0] < _FEW_LEVELS]
    if 2 * len(grey) >= max(len(ranges), 1):
        (low, high), name = grey[0]
        notes.append(
            f"{where}: half of the training images or more are nearly one grey, such as "
            f"{printable(name)} with values from {low} to {high} of 0 to 255; were they saved with "
            f"too few bits{', or is one of the others broken' * (len(grey) < len(ranges))}?"
        )
    return (
        [replace(file, depth=depth) for file in train],
        [replace(file, depth=depth) for file in test],
        depth,
    )


_FEW_LEVELS = 16


def deep_images(files: Sequence[ImageFile]) -> list[tuple[ImageFile, Levels]]:
    """Return the images with 16 bits a sample, and their levels."""
    return [(file, file.levels) for file in files if file.levels and file.levels.deep]


def _range(levels: Levels, depth: int | None) -> tuple[int, int]:
    """Return an image's lowest and highest value, as they are read (0 to 255)."""
    scale = 255 / highest(depth) if levels.deep else 1
    return min(round(levels.low * scale), 255), min(round(levels.high * scale), 255)


def note_unused(
    root: Path, part: str, used: Iterable[str], expected: str, notes: list[str]
) -> None:
    """Note, folder by folder, the images below ``root``/``part`` that are not among ``used``."""
    left: dict[str, list[str]] = {}
    for name in sorted(set(image_names(root, part)).difference(used)):
        left.setdefault(PurePosixPath(name).parent.as_posix(), []).append(name)
    for folder, names in list(left.items())[:_MOST_FOLDERS]:
        notes.append(
            f"{len(names)} images in {printable(folder)} are not used, the first is "
            f"{printable(names[0])}; expected folders are {expected}"
        )
    if len(left) > _MOST_FOLDERS:
        notes.append(f"so are images in {len(left) - _MOST_FOLDERS} more folders")


_MOST_FOLDERS = 5
