"""Somebody's own images: a tree of folders with train/normal, test/normal and test/novel."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from kd_models.data.errors import DataError, UnreadableImage
from kd_models.data.fingerprint import fingerprint_files
from kd_models.data.image_set import LoadOptions, Split, Splits, Unreadable
from kd_models.data.read_image import SUFFIXES, decode, read_bytes

_TREE = """\
{root}
├── train
│   └── normal    images of the normal class, to learn from
└── test
    ├── normal    other images of the normal class
    └── novel     images of anything else"""


@dataclass(frozen=True)
class ImageFile:
    """An image that could be read: its path inside the tree and the SHA-256 of its bytes."""

    name: str
    sha256: bytes


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
        path = self._root / file.name
        content = read_bytes(path)
        if hashlib.sha256(content).digest() != file.sha256:
            raise DataError(f"{path} changed while it was in use; load the dataset again")
        return decode(content, path)


def load_folder(root: Path, options: LoadOptions) -> Splits:
    """Reads the tree under `root`; label 0 is normal, 1 novel.

    Each of the three folders may have sub-folders; hidden files and files without an image
    suffix are ignored. Images come sorted by path. The fingerprint covers the paths inside the
    tree and the bytes of the images that are used.

    Raises DataError, with the path and the tree that is expected, where a folder is missing or
    has no image, and UnreadableImage at the first image that cannot be decoded, unless
    `options.unreadable` is "skip".
    """
    if not root.is_dir():
        raise DataError(
            _expected(root, f"{root} is not there" if not root.exists() else f"{root} is no folder")
        )
    skipped: list[str] = []
    train = _readable(root, "train/normal", options.unreadable, skipped)
    normal = _readable(root, "test/normal", options.unreadable, skipped)
    novel = _readable(root, "test/novel", options.unreadable, skipped)
    test = normal + novel
    return Splits(
        train=Split(ImageFiles(root, train), torch.zeros(len(train), dtype=torch.int64)),
        test=Split(ImageFiles(root, test), torch.tensor([0] * len(normal) + [1] * len(novel))),
        fingerprint=fingerprint_files((file.name, file.sha256) for file in train + test),
        test_names=tuple(file.name for file in test),
        skipped=tuple(skipped),
    )


def _readable(root: Path, part: str, unreadable: Unreadable, skipped: list[str]) -> list[ImageFile]:
    folder = root / part
    if not folder.is_dir():
        raise DataError(_expected(root, f"{folder} is not there"))
    names = sorted(path.relative_to(root).as_posix() for path in image_paths(folder))
    if not names:
        raise DataError(_expected(root, f"{folder} has no image in it"))
    files: list[ImageFile] = []
    for name in names:
        path = root / name
        try:
            content = read_bytes(path)
            decode(content, path)
        except UnreadableImage as error:
            if unreadable == "stop":
                raise UnreadableImage(
                    f"{error} (unreadable: skip leaves such files out)"
                ) from error
            skipped.append(name)
        else:
            files.append(ImageFile(name, hashlib.sha256(content).digest()))
    if not files:
        raise DataError(
            f"none of the {len(names)} images in {folder} can be read; first {names[0]}"
        )
    return files


def image_paths(folder: Path) -> Iterator[Path]:
    """Yields every image file below `folder`, as `load_folder` finds them, in no order."""
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


def _expected(root: Path, problem: str) -> str:
    return f"{problem}; a folder dataset is a tree of images like this:\n{_TREE.format(root=root)}"
