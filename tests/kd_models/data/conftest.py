"""Small image trees on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Save = Callable[..., Path]


@pytest.fixture
def save() -> Save:
    """Writes a plain image of one level (grey) or colour (RGB); the suffix says the format."""

    def write(
        path: Path, level: int | tuple[int, int, int] = 0, size: tuple[int, int] = (6, 4)
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "L" if isinstance(level, int) else "RGB"
        Image.new(mode, size, level).save(path)
        return path

    return write


@pytest.fixture
def tree(tmp_path: Path, save: Save) -> Path:
    """Three training images, two normal and two novel test images, each of another level."""
    root = tmp_path / "parts"
    names = ["train/normal/a", "train/normal/b", "train/normal/c"]
    names += ["test/normal/d", "test/normal/e", "test/novel/f", "test/novel/g"]
    for level, name in enumerate(names):
        save(root / f"{name}.png", 30 * level)
    return root


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    """Random uint8 values of a shape, the same each time."""

    def draw(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return draw
