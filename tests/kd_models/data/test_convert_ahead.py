"""Photographs that were converted before they travel are the same to a task."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kd_models.data import DataError, ImageSet, convert_ahead, load, one_class
from kd_models.data.converted import Fetch, Rows

SHAPES = {(32, 3), (16, 1)}


class Shelf:
    """Keeps arrays as another machine would: as bytes."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def __call__(self, array: NDArray[Any]) -> Fetch:
        self.kept.append(pickle.dumps(array))
        number = len(self.kept) - 1
        return lambda: pickle.loads(self.kept[number])


@pytest.fixture(scope="module")
def parts(planted: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Two categories; of the second a mask is missing."""
    root = tmp_path_factory.mktemp("parts")
    cloth = planted(root, train=5, test=3, size=48)
    other = planted(root / "second", train=4, test=2, size=40, seed=1)
    shutil.move(other, root / "linen")
    shutil.rmtree(root / "second")
    next((root / "linen/ground_truth/hole").iterdir()).unlink()
    assert cloth.is_dir()
    return load(f"mvtec:{root}", root)


def ahead(images: ImageSet, classes: set[str], shelf: Shelf | None = None, **more: int) -> ImageSet:
    return convert_ahead(images, SHAPES, classes, shelf or Shelf(), lambda line: None, **more)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("block_bytes", [1, 20_000, 64 << 20])
def test_a_task_is_the_same(parts: ImageSet, shape: tuple[int, int], block_bytes: int) -> None:
    shelf = Shelf()
    converted = ahead(parts, {"cloth", "linen"}, shelf, block_bytes=block_bytes)
    assert (len(shelf.kept) > 6) == (block_bytes < 64 << 20)
    for key in ("cloth", "linen"):
        size, channels = shape
        wanted, found = (
            one_class(images, key, image_size=size, channels=channels)
            for images in (parts, converted)
        )
        for name in ("train", "test", "novel", "labels", "masks", "masked"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), name
        assert (found.names, found.fingerprint) == (wanted.names, wanted.fingerprint)


def test_only_what_is_used_is_converted(parts: ImageSet) -> None:
    shelf = Shelf()
    converted = ahead(parts, {"linen"}, shelf)
    rows = sum(len(pickle.loads(block)) for block in shelf.kept)
    train, test = 4, 8
    assert rows == len(SHAPES) * (train + test + test), "images of both splits, and masks"
    one_class(converted, "linen", image_size=32, channels=3)
    with pytest.raises(DataError, match="was said not to use"):
        one_class(converted, "cloth", image_size=32, channels=3)
    with pytest.raises(DataError, match=r"converted for .*, and asked for as 64"):
        one_class(converted, "linen", image_size=64, channels=3)
    with pytest.raises(DataError, match=r"asked for as \(32, 1\)"):
        one_class(converted, "linen", image_size=32, channels=1)


def test_files_that_changed_since_they_were_loaded_do_not_travel(
    planted: Callable[..., Path], tmp_path: Path
) -> None:
    cloth = planted(tmp_path, train=3, test=2, size=32)
    images = load(f"mvtec:{tmp_path}", tmp_path)
    shutil.copy(cloth / "train/good/000.png", cloth / "train/good/002.png")
    with pytest.raises(DataError, match=r"002\.png changed while it was in use"):
        ahead(images, {"cloth"})


def test_other_datasets_stay_as_they_are(tmp_path: Path) -> None:
    digits = load("digits", tmp_path)
    assert ahead(digits, {"0"}) is digits


def test_rows_are_read_in_the_order_they_are_asked_for() -> None:
    blocks = [np.arange(6).reshape(3, 2), np.arange(6, 10).reshape(2, 2)]
    rows = Rows(tuple((lambda b=b: b) for b in blocks), (0, 3, 5), np.array([0, 1, -1, 2, 3, 4]))
    assert rows.take([5, 0, 4, 4]).read().tolist() == [[8, 9], [0, 1], [6, 7], [6, 7]]
