"""MNIST and Fashion-MNIST: four files in the IDX format."""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from kd_models.data.fetch import Files, fetching
from kd_models.data.fingerprint import array_splits
from kd_models.data.image_set import Split, Splits
from kd_models.data.options import LoadOptions

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""The folder where Debian's package dataset-fashion-mnist puts the four files."""

_NAMES = tuple(
    f"{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def load_mnist(root: Path, options: LoadOptions) -> Splits:
    """Load MNIST, uint8 (60000, 1, 28, 28) and (10000, 1, 28, 28), from ``root``/MNIST/raw.

    Missing files are downloaded if ``options.download`` is set.

    Raises:
        DatasetMissing: files are missing and may not or cannot be downloaded.
    """
    from torchvision.datasets import MNIST

    return _load("mnist", MNIST, root, options)


def load_fmnist(root: Path, options: LoadOptions) -> Splits:
    """Load Fashion-MNIST, shaped like MNIST, from ``root``/FashionMNIST/raw or Debian's folder.

    Debian's folder is read if the first lacks files. Files that are in neither are downloaded if
    ``options.download`` is set.

    Raises:
        DatasetMissing: files are missing and may not or cannot be downloaded.
    """
    from torchvision.datasets import FashionMNIST

    return _load("fmnist", FashionMNIST, root, options, DEBIAN_FASHION_MNIST)


def _load(name: str, reader: Any, root: Path, options: LoadOptions, *elsewhere: Path) -> Splits:
    raw = root / reader.__name__ / "raw"
    files = Files(
        folder=raw,
        names=tuple(f"{name}.gz" for name in _NAMES),
        source=str(reader.mirrors[0]),
        elsewhere=elsewhere,
    )
    with fetching(name, root, files, options):
        for folder in (raw, *elsewhere):
            if all(_find(folder, name) for name in _NAMES):
                try:
                    return _read(folder)
                except (EOFError, gzip.BadGzipFile, zlib.error):
                    # A download was cut short: torchvision will fetch that file again.
                    if folder != raw or not options.download:
                        raise
        if not options.download:
            raise FileNotFoundError("not all files are there")
        reader(root, download=True)
        return _read(raw)


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read(folder: Path) -> Splits:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels, test_images, test_labels = (
        _read_file(folder, name, read_image_file if "images" in name else read_label_file)
        for name in _NAMES
    )
    return array_splits(Split(images[:, None], labels), Split(test_images[:, None], test_labels))


def _read_file(folder: Path, name: str, read: Callable[[str], Tensor]) -> Tensor:
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(f"{name} is not there")
    if path.suffix != ".gz":
        return read(str(path))
    # torchvision reads only unpacked files, by name. They are unpacked elsewhere, since the folder
    # may be read-only.
    with tempfile.NamedTemporaryFile() as unpacked:
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, unpacked)
        unpacked.flush()
        return read(unpacked.name)
