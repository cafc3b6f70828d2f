from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_models.data import UnreadableImage, read_image

Pixels = Callable[..., np.ndarray]


def _mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "webp", "gif", "tga"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    # Four colours, so that the GIF's palette holds them all.
    image = np.array(
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [255, 0, 0], [0, 0, 255]]],
        dtype=np.uint8,
    )
    path = tmp_path / f"x.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(image).save(path, **options)
    result = read_image(path)
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    assert result.tolist() == image.transpose(2, 0, 1).tolist()


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif", "bmp"])
def test_grey_stays_one_channel(tmp_path: Path, pixels: Pixels, suffix: str) -> None:
    image = pixels(3, 5)
    Image.fromarray(image).save(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").tolist() == [image.tolist()]


def test_jpeg_is_close(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "x.JPG", quality=95)
    result = read_image(str(tmp_path / "x.JPG")).int()
    assert result.shape == (3, 8, 16)
    assert (result - torch.tensor([200, 100, 50]).view(3, 1, 1)).abs().max() <= 3


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[0, 80], [160, 240]]),
        (3, [[240, 160], [80, 0]]),
        (6, [[160, 0], [240, 80]]),
        (8, [[80, 240], [0, 160]]),
    ],
)
def test_the_camera_s_orientation_is_applied(
    tmp_path: Path, orientation: int, expected: list[list[int]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.array([[0, 80], [160, 240]], dtype=np.uint8))
    image.save(tmp_path / "x.png", exif=exif)
    assert read_image(tmp_path / "x.png").tolist() == [expected]


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "x.png")
    assert _mode(tmp_path / "x.png") == "P"
    assert read_image(tmp_path / "x.png").tolist() == [[[10, 200]], [[20, 100]], [[30, 0]]]


def test_black_and_white_spans_the_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1").save(tmp_path / "x.png")
    assert _mode(tmp_path / "x.png") == "1"
    assert read_image(tmp_path / "x.png").tolist() == [[[0, 255]]]


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[9, 9, 9, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    expected = [[255, 10, 204], [255, 20, 204], [255, 30, 204]]
    assert read_image(tmp_path / "x.png")[:, 0].tolist() == expected
    grey = np.array([[[9, 0], [10, 255], [0, 51]]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "y.png")
    assert _mode(tmp_path / "y.png") == "LA"
    assert read_image(tmp_path / "y.png").tolist() == [[[255, 10, 204]]]


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "x.gif", transparency=0)
    assert read_image(tmp_path / "x.gif")[:, 0].tolist() == [[255, 200], [255, 100], [255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 255, 256], [32768, 65535, 300]], dtype=np.uint16)
    path = tmp_path / f"x.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5\n3 2\n65535\n" + levels.astype(">u2").tobytes())
    else:
        Image.fromarray(levels).save(path)
    assert read_image(path).tolist() == [[[0, 0, 1], [128, 255, 1]]]


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    levels = np.array([[256, 512]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "x.png", exif=exif)
    assert read_image(tmp_path / "x.png").tolist() == [[[2, 1]]]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_range_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((2, 2), dtype=dtype)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match=r"x\.tif.*32-bit pixels have no fixed range"):
        read_image(tmp_path / "x.tif")


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 1), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif")[:, 0].tolist() == [[255, 255], [0, 0], [0, 0]]


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (1, 1), colour) for colour in ((1, 2, 3), (200, 0, 0))]
    frames[0].save(tmp_path / "x.tif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "x.tif").flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"not an image", "no known image format")],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(caught.value) == f"{path} cannot be read as an image: {reason}"


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "gif"])
def test_half_an_image_is_named(tmp_path: Path, pixels: Pixels, suffix: str) -> None:
    path = tmp_path / f"half.{suffix}"
    Image.fromarray(pixels(40, 40, 3)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=rf"half\.{suffix} cannot be read as an image: \w"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"none\.png cannot be read: No such file"):
        read_image(tmp_path / "none.png")
