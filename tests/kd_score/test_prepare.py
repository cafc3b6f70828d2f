"""What is scored without PyTorch is what was trained with it: pixel for pixel."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_models.data import as_tensor, to_model_input
from kd_score.prepare import prepared
from kd_score.read_image import read_raw

TOLERANCE = 2e-3
"""of 255; single precision adds up in another order"""


def by_training(pixels: np.ndarray, size: int, channels: int) -> np.ndarray:
    scaled = to_model_input([as_tensor(pixels)], image_size=size, channels=channels)[0]
    return ((scaled + 1) * 127.5).numpy()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([1, 2, 7, 32]),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 3]),
    st.integers(0, 2**31),
)
def test_any_image_is_prepared_as_training_did(
    height: int, width: int, size: int, channels: int, stored: int, seed: int
) -> None:
    shape = (height, width) if stored == 1 else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    result = prepared(pixels, image_size=size, channels=channels)
    assert result.dtype == np.float32
    assert result.shape == (channels, size, size)
    assert np.abs(result - by_training(pixels, size, channels)).max() < TOLERANCE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_files_of_every_mode_are_prepared_as_training_did(tmp_path: Path, mode: str) -> None:
    grey = np.add.outer(np.arange(50), np.arange(37)).astype(np.uint8) * 2
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / "x.png")
    else:
        suffix = "tif" if mode == "CMYK" else "png"
        Image.fromarray(grey).convert(mode).save(tmp_path / f"x.{suffix}")
    raw = read_raw(next(tmp_path.iterdir()))
    pixels = raw.in_8_bits(12)
    result = prepared(pixels, image_size=32, channels=1)
    assert np.abs(result - by_training(pixels, 32, 1)).max() < TOLERANCE


def test_a_photograph_is_prepared_as_training_did() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3)).astype(np.uint8)
    result = prepared(pixels, image_size=128, channels=3)
    assert np.abs(result - by_training(pixels, 128, 3)).max() < TOLERANCE
