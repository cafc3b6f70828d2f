import struct
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kd_models.data import UnreadableImage, read_image
from kd_models.data.read_image import bytes_of, decode_mask
from kd_score.read_image import DEPTHS, RawImage, depth_in_use, read_raw

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


def _write_deep(path: Path, levels: np.ndarray) -> None:
    """Write uint16 levels (H, W) or (H, W, 3 or 4); Pillow writes no colour of 16 bits."""
    if path.suffix == ".pgm":
        height, width = levels.shape
        path.write_bytes(f"P5\n{width} {height}\n65535\n".encode() + levels.astype(">u2").tobytes())
    elif levels.ndim == 2:
        Image.fromarray(levels).save(path)
    elif path.suffix == ".png":
        path.write_bytes(_deep_png(levels))
    else:
        path.write_bytes(_deep_tiff(levels, "<" if path.suffix == ".tif" else ">"))


def _deep_png(levels: np.ndarray) -> bytes:
    height, width, samples = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        length, check = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return length + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[samples], 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _deep_tiff(levels: np.ndarray, order: str) -> bytes:
    height, width, samples = levels.shape
    data = levels.astype(f"{order}u2").tobytes()
    bits = 8 + 2 + 12 * 9 + 4
    return _tiff(
        order,
        [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, 1, bits + 2 * samples), (277, 3, 1, samples),
            (278, 4, 1, height), (279, 4, 1, len(data)),
        ],
        struct.pack(f"{order}{samples}H", *[16] * samples) + data,
    )  # fmt: skip


def _planar_tiff(levels: np.ndarray, order: str, compressed: bool) -> bytes:
    """Each colour a strip of its own (PlanarConfiguration 2), as it is or by deflate."""
    height, width, samples = levels.shape
    colours = [plane.astype(f"{order}u2").tobytes() for plane in levels.transpose(2, 0, 1)]
    if compressed:
        colours = [zlib.compress(plane) for plane in colours]
    lengths = [len(plane) for plane in colours]
    bits = 8 + 2 + 12 * 10 + 4
    offsets, sizes = bits + 2 * samples, bits + 6 * samples
    strips = [offsets + 8 * samples + sum(lengths[:n]) for n in range(samples)]
    return _tiff(
        order,
        [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits),
            (259, 3, 1, 8 if compressed else 1), (262, 3, 1, 2),
            (273, 4, samples, offsets), (277, 3, 1, samples), (278, 4, 1, height),
            (279, 4, samples, sizes), (284, 3, 1, 2),
        ],
        struct.pack(f"{order}{samples}H", *[16] * samples)
        + struct.pack(f"{order}{samples}I", *strips)
        + struct.pack(f"{order}{samples}I", *lengths)
        + b"".join(colours),
    )  # fmt: skip


def _tiff(order: str, entries: list[tuple[int, int, int, int]], rest: bytes) -> bytes:
    """A TIFF of one directory: tag, type (3 short, 4 long), count, value or where it lies."""
    table = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (
            struct.pack(f"{order}HH", value, 0)
            if (kind, count) == (3, 1)
            else struct.pack(f"{order}I", value)
        )
        for tag, kind, count, value in entries
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return head + table + struct.pack(f"{order}I", 0) + rest


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 128, 129], [32768, 65535, 300]], dtype=np.uint16)
    _write_deep(tmp_path / f"x.{suffix}", levels)
    assert read_image(tmp_path / f"x.{suffix}").tolist() == [[[0, 0, 1], [128, 255, 1]]]


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_the_bits_in_use_span_the_range(
    tmp_path: Path, suffix: str, samples: int, depth: int
) -> None:
    most = 2**depth - 1
    levels = np.array([[0, most // 5, most, min(2 * most, 65535)]], dtype=np.uint16)
    levels = levels if samples == 1 else np.stack([levels, levels[:, ::-1], levels], -1)
    _write_deep(tmp_path / f"x.{suffix}", levels)
    result = read_image(tmp_path / f"x.{suffix}", depth=depth)
    assert result[0].tolist() == [[0, 51, 255, 255]]
    assert result.shape == (samples, 1, 4)
    raw = read_raw(tmp_path / f"x.{suffix}")
    assert (raw.deep, raw.levels.low, raw.levels.high) == (True, 0, min(2 * most, 65535))
    assert np.array_equal(raw.pixels, levels)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_value_of_16_bits_becomes_the_nearest_of_8(depth: int) -> None:
    most = 2**depth - 1
    values = np.tile(np.arange(65536, dtype=np.uint16), 2).reshape(512, 256)
    # In whole numbers: none lies in the middle between two.
    expected = ((values.astype(int) * 510 + most) // (2 * most)).clip(0, 255)
    assert np.array_equal(RawImage(values).in_8_bits(depth), expected)


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_shines_through_becomes_the_nearest_of_8_bits(depth: int) -> None:
    most, rng = 2**depth - 1, np.random.default_rng(depth)
    values = rng.integers(0, 65536, (512, 256, 3)).astype(np.uint16)
    opacity = rng.integers(0, 65536, (512, 256)).astype(np.uint16)
    share = opacity[..., None].astype(int)
    whole = most * 65535
    mixed = values.astype(int) * share + most * (65535 - share)
    expected = ((mixed * 510 + whole) // (2 * whole)).clip(0, 255)
    result = RawImage(values, opacity).in_8_bits(depth)
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("samples", [3, 4])
def test_16_bits_take_no_more_memory_than_is_held_for_them(tmp_path: Path, samples: int) -> None:
    _write_deep(tmp_path / "x.png", np.full((1600, 1500, samples), 3000, dtype=np.uint16))
    tracemalloc.start()
    try:
        raw = read_raw(tmp_path / "x.png")
        assert raw.levels.deep
        raw.in_8_bits(12)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Not counted, and at most 4 bytes a pixel at a time, is what Pillow and PyTorch take.
    assert peak + 4 * 1600 * 1500 < bytes_of((1600, 1500))


def test_deep_colour_lies_on_white_where_it_is_transparent(tmp_path: Path) -> None:
    levels = np.array([[[0, 4095, 0, 0], [0, 4095, 2048, 65535]]], dtype=np.uint16)
    _write_deep(tmp_path / "x.png", levels)
    assert read_image(tmp_path / "x.png", depth=12)[:, 0].T.tolist() == [[255] * 3, [0, 255, 128]]


def test_deep_grey_with_transparency_is_refused(tmp_path: Path) -> None:
    _write_deep(tmp_path / "x.png", np.zeros((1, 1, 2), dtype=np.uint16))
    with pytest.raises(UnreadableImage, match="16-bit pixels of this kind"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("highest", "depth"),
    [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16)],
)
def test_the_bits_in_use_are_those_of_a_camera(highest: int, depth: int) -> None:
    assert depth_in_use(highest) == depth
    assert depth_in_use(65535) == 16


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.array([[3, 9]], dtype=np.uint8), (3, 9, False, False)),
        (np.full((2, 2), 300, dtype=np.uint16), (300, 300, True, True)),
        (np.full((2, 2, 3), (1, 2, 3), dtype=np.uint8), (1, 3, False, True)),
    ],
)
def test_what_values_an_image_has(tmp_path: Path, values: np.ndarray, levels: tuple) -> None:
    Image.fromarray(values).save(tmp_path / "x.png")
    assert read_raw(tmp_path / "x.png").levels == levels


def test_single_pixels_do_not_count_among_the_values_an_image_has(tmp_path: Path) -> None:
    values = np.full((40, 50), 900, dtype=np.uint16)
    values[:20] = 100
    values[0, :2] = 0, 65535  # a dead and a hot one: of each a thousandth may be
    _write_deep(tmp_path / "x.png", values)
    assert read_raw(tmp_path / "x.png").levels == (100, 900, True, False)


@pytest.mark.parametrize("opaque", [0, 1, 3])
def test_what_is_transparent_does_not_count_among_the_values_an_image_has(
    tmp_path: Path, opaque: int
) -> None:
    levels = np.zeros((1, 4, 4), dtype=np.uint16)
    levels[..., :3] = 60000, 7, 0
    levels[0, :opaque] = 300, 400, 500, 65535
    _write_deep(tmp_path / "x.png", levels)
    expected = (300, 500, True, False) if opaque else (0, 0, True, True)
    assert read_raw(tmp_path / "x.png").levels == expected


def test_what_is_transparent_in_a_mask_of_16_bits_is_not_marked(tmp_path: Path) -> None:
    levels = np.array([[[300, 0, 0, 0], [300, 0, 0, 9], [0, 0, 0, 65535]]], dtype=np.uint16)
    _write_deep(tmp_path / "m.png", levels)
    mask = decode_mask((tmp_path / "m.png").read_bytes(), tmp_path / "m.png")
    assert mask.tolist() == [[False, True, False]]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_whose_colours_lie_apart_are_refused(
    tmp_path: Path, order: str, compressed: bool
) -> None:
    """Pillow takes each byte for a sample, or one byte of each."""
    levels = np.full((4, 5, 3), 700, dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(_planar_tiff(levels, order, compressed))
    with pytest.raises(UnreadableImage, match=r"16-bit pixels of this kind .* save it as RGB"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["SGI", "SGI compressed", "PPM", "PPM in words", "JPEG2000"])
def test_sixteen_bits_of_which_pillow_reads_a_byte_are_refused(tmp_path: Path, kind: str) -> None:
    name = kind.partition(" ")[0]
    if name == "SGI":
        head = struct.pack(">HBBHHHHII", 474, "compressed" in kind, 2, 3, 3, 1, 3, 0, 65535)
        content = head.ljust(512, b"\0") + np.full(9, 77, ">u2").tobytes()
    elif kind == "PPM":
        content = b"P6 3 1 65535\n" + np.full(9, 77, ">u2").tobytes()
    elif name == "PPM":
        content = b"P3 3 1 65535\n" + b" ".join([b"77"] * 9)
    else:
        Image.new("RGB", (3, 1)).save(tmp_path / "y.jp2")
        content = (tmp_path / "y.jp2").read_bytes()
        sizes = content.index(b"\xff\x4f\xff\x51") + 42  # in the codestream, by component
        deep = b"".join(b"\x0f" + content[sizes + 3 * n + 1 : sizes + 3 * n + 3] for n in range(3))
        content = content[:sizes] + deep + content[sizes + 9 :]
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"16-bit pixels of this kind \({name} RGB\)"):
        read_image(tmp_path / "x.png")


def test_eight_bits_of_such_formats_are_read(tmp_path: Path) -> None:
    Image.new("RGB", (3, 1), (1, 2, 3)).save(tmp_path / "x.jp2", irreversible=False)
    (tmp_path / "y.ppm").write_bytes(b"P6 1 1 255\n\1\2\3")
    for name in ("x.jp2", "y.ppm"):
        assert read_image(tmp_path / name)[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_too_large_an_image_says_which_setting_lifts_the_limit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new("1", (20_000, 10_000)).save(path)
    with pytest.raises(UnreadableImage, match=r"200 megapixels, and max_megapixels, .* 179;"):
        read_image(path)
    assert read_image(path, max_megapixels=200).shape == (1, 10_000, 20_000)
    assert Image.MAX_IMAGE_PIXELS is not None  # other people's images keep their limit


def test_images_that_are_read_at_once_leave_the_limit_as_it_was(tmp_path: Path) -> None:
    Image.new("1", (300, 200)).save(tmp_path / "x.png")
    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_image, [tmp_path / "x.png"] * 200))
    assert before == Image.MAX_IMAGE_PIXELS


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
