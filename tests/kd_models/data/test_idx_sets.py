import gzip
import struct
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_models.data import DatasetMissing, ImageSet, LoadOptions, idx_sets, load

Pixels = Callable[..., np.ndarray]
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
NAMES += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def write(pixels: Pixels) -> Callable[..., list[np.ndarray]]:
    """Writes the four files of a small set: 4 training and 3 test images of 28 x 28."""

    def files(folder: Path, *, packed: bool, seed: int = 0) -> list[np.ndarray]:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = [
            pixels(4, 28, 28, seed=seed),
            np.array([3, 0, 3, 9], dtype=np.uint8),
            pixels(3, 28, 28, seed=seed + 1),
            np.array([9, 3, 1], dtype=np.uint8),
        ]
        for name, array in zip(NAMES, arrays, strict=True):
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(_idx(array)))
            else:
                (folder / name).write_bytes(_idx(array))
        return arrays

    return files


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no way out")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    place = tmp_path / "debian"
    monkeypatch.setattr(idx_sets, "DEBIAN_FASHION_MNIST", place)
    return place


def _assert_holds(loaded: ImageSet, arrays: list[np.ndarray]) -> None:
    found = (loaded.train.images, loaded.train.labels, loaded.test.images, loaded.test.labels)
    for tensor, array in zip(found, arrays, strict=True):
        assert isinstance(tensor, torch.Tensor)
        wanted = array[:, None] if array.ndim == 3 else array
        assert tensor.tolist() == wanted.tolist()
    assert loaded.train.labels.dtype == torch.int64


@pytest.mark.usefixtures("no_debian", "no_network")
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fmnist", "FashionMNIST")])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("download", [False, True])
def test_files_under_root_are_read_without_a_network(
    tmp_path: Path,
    write: Callable[..., list[np.ndarray]],
    name: str,
    folder: str,
    packed: bool,
    download: bool,
) -> None:
    arrays = write(tmp_path / folder / "raw", packed=packed)
    loaded = load(name, tmp_path, LoadOptions(download=download))
    assert loaded.name == name
    _assert_holds(loaded, arrays)


def test_packed_or_not_and_wherever_it_lies_it_is_the_same_dataset(
    tmp_path: Path, write: Callable[..., list[np.ndarray]]
) -> None:
    fingerprints = set()
    for index, (packed, seed) in enumerate([(False, 0), (True, 0), (True, 5)]):
        root = tmp_path / str(index)
        write(root / "MNIST/raw", packed=packed, seed=seed)
        fingerprints.add((seed, load("mnist", root, LoadOptions(download=False)).fingerprint))
    assert len(fingerprints) == len({fingerprint for _, fingerprint in fingerprints}) == 2


def test_fashion_is_found_in_debian_s_place_after_root(
    tmp_path: Path, no_debian: Path, write: Callable[..., list[np.ndarray]]
) -> None:
    there = write(no_debian, packed=True, seed=7)
    _assert_holds(load("fmnist", tmp_path / "root"), there)
    here = write(tmp_path / "root/FashionMNIST/raw", packed=False, seed=3)
    _assert_holds(load("fmnist", tmp_path / "root"), here)


def test_mnist_is_not_looked_for_in_fashion_s_place(
    tmp_path: Path, no_debian: Path, write: Callable[..., list[np.ndarray]]
) -> None:
    write(no_debian, packed=True)
    with pytest.raises(DatasetMissing, match=r"^mnist: no usable files in"):
        load("mnist", tmp_path / "root", LoadOptions(download=False))


def test_missing_without_a_download_says_where_and_what(tmp_path: Path, no_debian: Path) -> None:
    with pytest.raises(DatasetMissing) as caught:
        load("fmnist", tmp_path / "root", LoadOptions(download=False))
    message = str(caught.value)
    assert f"in {tmp_path / 'root/FashionMNIST/raw'} or {no_debian} (" in message
    assert "Allow the download, or put these files into" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("no_network")
def test_a_failed_download_says_why_and_what_to_do_by_hand(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing) as caught:
        load("mnist", tmp_path)
    message = str(caught.value)
    assert f"no usable files in {tmp_path / 'MNIST/raw'} (" in message
    assert "no way out" in message
    assert f"put these files into {tmp_path / 'MNIST/raw'}" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert "\n" not in message


def test_one_missing_file_is_a_missing_dataset(
    tmp_path: Path, write: Callable[..., list[np.ndarray]]
) -> None:
    write(tmp_path / "MNIST/raw", packed=False)
    (tmp_path / "MNIST/raw" / NAMES[3]).unlink()
    with pytest.raises(DatasetMissing, match="not all files are there"):
        load("mnist", tmp_path, LoadOptions(download=False))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"\0\0\x0a\x03" + bytes(40), bytes(99)])
def test_a_damaged_file_names_its_folder(
    tmp_path: Path, write: Callable[..., list[np.ndarray]], content: bytes
) -> None:
    write(tmp_path / "MNIST/raw", packed=False)
    (tmp_path / "MNIST/raw" / NAMES[0]).write_bytes(content)
    with pytest.raises(DatasetMissing, match=r"no usable files in .*MNIST/raw .*in place of any"):
        load("mnist", tmp_path, LoadOptions(download=False))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("download", "reason"), [(False, "end-of-stream"), (True, "no way out")])
def test_a_download_that_was_cut_short_is_fetched_again(
    tmp_path: Path, write: Callable[..., list[np.ndarray]], download: bool, reason: str
) -> None:
    write(tmp_path / "MNIST/raw", packed=True)
    last = tmp_path / "MNIST/raw" / f"{NAMES[3]}.gz"
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(DatasetMissing, match=reason):
        load("mnist", tmp_path, LoadOptions(download=download))


@pytest.mark.skipif(
    not idx_sets.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is absent"
)
def test_the_real_fashion_mnist(tmp_path: Path) -> None:
    loaded = load("fmnist", tmp_path, LoadOptions(download=False))
    assert isinstance(loaded.train.images, torch.Tensor)
    assert isinstance(loaded.test.images, torch.Tensor)
    assert loaded.train.images.shape == (60000, 1, 28, 28)
    assert loaded.test.images.shape == (10000, 1, 28, 28)
    assert loaded.train.labels.bincount().tolist() == [6000] * 10
    assert loaded.test.labels.bincount().tolist() == [1000] * 10
    assert loaded.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert loaded.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    # The mean and deviation that everybody normalises by.
    values = loaded.train.images.float() / 255
    assert values.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert values.std().item() == pytest.approx(0.3530, abs=5e-5)
    # Upright: a trouser is taller than it is wide.
    trousers = values[loaded.train.labels == 1].mean(0)[0]
    assert (trousers > 0.1).any(1).sum() > (trousers > 0.1).any(0).sum()
