"""A user's own images: a tree of folders with train/normal, test/normal and test/novel."""

from functools import partial
from pathlib import Path

import torch

from kd_models.data.errors import DataError
from kd_models.data.fingerprint import fingerprint_files
from kd_models.data.image_files import (
    ImageFiles,
    note_unused,
    read_folder,
    with_depth,
)
from kd_models.data.image_set import Split, Splits
from kd_models.data.options import LoadOptions
from kd_score.names import shown

_PARTS = ("train/normal", "test/normal", "test/novel")
_TREE = """\
{root}
├── train
│   └── normal    images of the normal class, to learn from
└── test
    ├── normal    other images of the normal class
    └── novel     images of anything else"""


def load_folder(root: Path, options: LoadOptions) -> Splits:
    """Read the tree under ``root``; label 0 is normal, 1 novel.

    Each of the three folders may have sub-folders; hidden files and files without an image
    suffix are ignored. Images come sorted by path. The fingerprint covers the paths inside the
    tree and the bytes of the images that are used.

    Raises:
        DataError: a folder is missing or has no image; the message has the path and the expected
            tree.
        UnreadableImage: an image cannot be decoded, unless ``options.unreadable`` is "skip"; it is
            raised at the first such image.
    """
    if not root.is_dir():
        problem = "is not there" if not root.exists() else "is no folder"
        raise DataError(_expected(root, f"{shown(root)} {problem}"))
    skipped: list[str] = []
    notes: list[str] = []
    expected = partial(_expected, root)
    train, normal, novel = (read_folder(root, part, options, skipped, expected) for part in _PARTS)
    used = [file.name for file in train + normal + novel] + skipped
    note_unused(root, "", used, ", ".join(_PARTS), notes)
    train, test, depth = with_depth("images", train, normal + novel, options, notes)
    return Splits(
        train=Split(ImageFiles(root, train), torch.zeros(len(train), dtype=torch.int64)),
        test=Split(ImageFiles(root, test), torch.tensor([0] * len(normal) + [1] * len(novel))),
        fingerprint=fingerprint_files((file.name, file.sha256) for file in train + test),
        test_names=tuple(file.name for file in test),
        skipped=tuple(skipped),
        notes=tuple(notes),
        depths={"normal": depth},
    )


def _expected(root: Path, problem: str) -> str:
    tree = _TREE.format(root=shown(root))
    return f"{problem}; a folder dataset is a tree of images like this:\n{tree}"
