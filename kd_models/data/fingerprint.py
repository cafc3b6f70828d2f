"""A dataset's identity by content: a stored result belongs to the pixels it was trained on."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np
from torch import Tensor

from kd_models.data.errors import DataError
from kd_models.data.image_set import Split, Splits


def fingerprint_arrays(*arrays: Tensor) -> str:
    """Return the SHA-256, in hex, over each array's dtype, shape and values, in order."""
    digest = hashlib.sha256(b"kd_models.data arrays 1\n")
    for array in arrays:
        digest.update(f"{array.dtype} {tuple(array.shape)}\n".encode())
        values = array.contiguous().numpy()
        # Always little-endian, so that the same data has the same fingerprint on every machine.
        digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def fingerprint_files(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256, in hex, over files, sorted by path.

    Args:
        files: relative path and SHA-256 of the bytes, for each file.
    """
    digest = hashlib.sha256(b"kd_models.data files 3\n")
    for path, content_sha256 in sorted(files):
        name = os.fsencode(path)
        # Each part comes after its length, so that no two lists of files give the same bytes.
        for part in (name, content_sha256):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def array_splits(train: Split, test: Split) -> Splits:
    """Return splits with their fingerprint.

    Args:
        train: the training split.
        test: the test split.

    Raises:
        DataError: a split has not one label for each image.
        TypeError: the images of a split are not one tensor.
    """
    arrays: list[Tensor] = []
    for split in (train, test):
        if not isinstance(split.images, Tensor):
            raise TypeError("array_splits takes splits whose images are one tensor")
        if len(split.images) != len(split.labels):
            raise DataError(f"{len(split.images)} images but {len(split.labels)} labels in a split")
        arrays += [split.images, split.labels]
    return Splits(train=train, test=test, fingerprint=fingerprint_arrays(*arrays))
