"""CIFAR-10, SVHN and STL-10 through torchvision's own readers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_models.data.fetch import Files, fetching
from kd_models.data.fingerprint import array_splits
from kd_models.data.image_set import Split, Splits
from kd_models.data.options import LoadOptions


def load_cifar10(root: Path, options: LoadOptions) -> Splits:
    """Load CIFAR-10, uint8 (50000, 3, 32, 32) and (10000, 3, 32, 32).

    It is read from ``root``/cifar-10-batches-py. Missing files are downloaded if
    ``options.download`` is set.

    Raises:
        DatasetMissing: files are missing and may not or cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    parts = [*CIFAR10.train_list, *CIFAR10.test_list]
    files = Files(
        folder=root / CIFAR10.base_folder,
        names=(*(str(part[0]) for part in parts), str(CIFAR10.meta["filename"])),
        source=CIFAR10.url,
    )
    with fetching("cifar10", root, files, options):
        train, test = (
            CIFAR10(root, train=train, download=options.download) for train in (True, False)
        )
        return array_splits(
            _split(train.data.transpose(0, 3, 1, 2), train.targets),
            _split(test.data.transpose(0, 3, 1, 2), test.targets),
        )


def load_svhn(root: Path, options: LoadOptions) -> Splits:
    """Load SVHN's cropped digits, uint8 (73257, 3, 32, 32) and (26032, 3, 32, 32), from ``root``.

    The digit 0, stored as class 10, is class 0. Missing files are downloaded if
    ``options.download`` is set.

    Raises:
        DatasetMissing: files are missing and may not or cannot be downloaded.
    """
    from torchvision.datasets import SVHN

    parts = [SVHN.split_list[split] for split in ("train", "test")]
    files = Files(
        folder=root,
        names=tuple(str(part[1]) for part in parts),
        source=" and ".join(str(part[0]) for part in parts),
    )
    with fetching("svhn", root, files, options):
        train, test = (
            SVHN(root, split=split, download=options.download) for split in ("train", "test")
        )
        return array_splits(_split(train.data, train.labels), _split(test.data, test.labels))


def load_stl10(root: Path, options: LoadOptions) -> Splits:
    """Load STL-10's labelled images, uint8 (5000, 3, 96, 96) and (8000, 3, 96, 96).

    They are read from ``root``/stl10_binary. Missing files are downloaded if ``options.download``
    is set.

    Raises:
        DatasetMissing: files are missing and may not or cannot be downloaded.
    """
    from torchvision.datasets import STL10

    # torchvision also wants, and hashes each time, 2.6 GB of unlabelled images, not used here.
    labelled: Any = type("LabelledSTL10", (STL10,), {"train_list": STL10.train_list[:2]})
    parts = [*labelled.train_list, *labelled.test_list]
    files = Files(
        folder=root / STL10.base_folder,
        names=tuple(str(part[0]) for part in parts),
        source=STL10.url,
    )
    with fetching("stl10", root, files, options):
        train, test = (
            labelled(root, split=split, download=options.download) for split in ("train", "test")
        )
        return array_splits(_split(train.data, train.labels), _split(test.data, test.labels))


def _split(images: Any, labels: Any) -> Split:
    return Split(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(np.asarray(labels, dtype=np.int64)),
    )
