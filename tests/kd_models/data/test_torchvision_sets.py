import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from kd_models.data import DatasetMissing, LoadOptions, Split, load

Pixels = Callable[..., np.ndarray]


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files in the official format, which cannot have the official checksums."""
    for module in ("cifar", "svhn", "stl10"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity",
            lambda path, md5=None: Path(path).is_file(),
        )


def _assert_holds(split: Split, images: np.ndarray, labels: list[int]) -> None:
    assert isinstance(split.images, torch.Tensor)
    assert split.images.dtype == torch.uint8
    assert split.images.is_contiguous()
    assert split.images.tolist() == images.tolist()
    assert split.labels.tolist() == labels
    assert split.labels.dtype == torch.int64


def _write_cifar10(root: Path, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = pixels(12, 3, 32, 32)
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    for index, name in enumerate(names):
        rows = images[2 * index : 2 * index + 2].reshape(2, 3072)
        batch: dict[str, Any] = {"data": rows, "labels": [index, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    return images[:10], images[10:]


@pytest.mark.usefixtures("any_checksum")
def test_cifar10(tmp_path: Path, pixels: Pixels) -> None:
    train, test = _write_cifar10(tmp_path, pixels)
    loaded = load("cifar10", tmp_path, LoadOptions(download=False))
    _assert_holds(loaded.train, train, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9])
    _assert_holds(loaded.test, test, [5, 9])


def _write_svhn(root: Path, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    train, test = pixels(3, 3, 32, 32), pixels(2, 3, 32, 32, seed=1)
    for name, images, labels in (("train", train, [10, 1, 9]), ("test", test, [2, 10])):
        scipy.io.savemat(
            root / f"{name}_32x32.mat",
            {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, dtype=np.uint8)[:, None]},
        )
    return train, test


@pytest.mark.usefixtures("any_checksum")
def test_svhn_s_ten_is_the_digit_nought(tmp_path: Path, pixels: Pixels) -> None:
    train, test = _write_svhn(tmp_path, pixels)
    loaded = load("svhn", tmp_path, LoadOptions(download=False))
    _assert_holds(loaded.train, train, [0, 1, 9])
    _assert_holds(loaded.test, test, [2, 0])


def _write_stl10(root: Path, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    train, test = pixels(2, 3, 96, 96), pixels(3, 3, 96, 96, seed=1)
    for name, images, labels in (("train", train, [1, 10]), ("test", test, [3, 2, 1])):
        # Column-major images, labels from 1.
        images.transpose(0, 1, 3, 2).tofile(folder / f"{name}_X.bin")
        np.array(labels, dtype=np.uint8).tofile(folder / f"{name}_y.bin")
    return train, test


@pytest.mark.usefixtures("any_checksum")
def test_stl10_needs_no_unlabelled_images(tmp_path: Path, pixels: Pixels) -> None:
    train, test = _write_stl10(tmp_path, pixels)
    loaded = load("stl10", tmp_path, LoadOptions(download=False))
    _assert_holds(loaded.train, train, [0, 9])
    _assert_holds(loaded.test, test, [2, 1, 0])


EXPECTED = {
    "cifar10": (
        "cifar-10-batches-py",
        ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"],
    ),
    "svhn": ("", ["train_32x32.mat", "test_32x32.mat"]),
    "stl10": ("stl10_binary", ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"]),
}
WRITE = {"cifar10": _write_cifar10, "svhn": _write_svhn, "stl10": _write_stl10}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("download", [False, True])
def test_missing_says_where_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, download: bool
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no way out")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DatasetMissing) as caught:
        load(name, tmp_path, LoadOptions(download=download))
    message = str(caught.value)
    folder, files = EXPECTED[name]
    assert message.startswith(f"{name}: no usable files in {tmp_path / folder} (")
    assert ("no way out" in message) == download
    assert ("Allow the download" in message) == (not download)
    assert f"put these files into {tmp_path / folder}," in message
    assert all(file in message for file in files)
    assert "unlabeled" not in message
    assert "(from http" in message


@pytest.mark.parametrize("name", EXPECTED)
def test_files_without_the_official_checksum_are_refused(
    tmp_path: Path, pixels: Pixels, name: str
) -> None:
    WRITE[name](tmp_path, pixels)
    with pytest.raises(DatasetMissing, match="not found or corrupted"):
        load(name, tmp_path, LoadOptions(download=False))
