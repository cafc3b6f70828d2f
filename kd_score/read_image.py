"""One image file to pixels.

Formats with up to 8 bits a sample are read as Pillow reads them. A file with 16 bits does not say
which range its values have: cameras of 10, 12 or 14 bits store theirs unscaled. So the range is
that of the bits in use, the ``depth`` (:func:`depth_in_use`). It is taken from a dataset's training
images, kept with the student, and the same wherever the student scores.
"""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from kd_score.errors import UnreadableImage
from kd_score.names import shown

DEPTHS = (8, 10, 12, 14, 16)
"""Bits a sample that cameras have."""
FULL_DEPTH = DEPTHS[-1]

MAX_MEGAPIXELS = 179.0
"""The most megapixels that an image may have, unless set otherwise: Pillow's own limit."""

_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION = 258, 284  # TIFF's tags
_OTHER_DEEP = "16-bit pixels of this kind ({}) are not read; save it as RGB"
_GREY = ("1", "L", "LA", "La")
_ENOUGH_VALUES = 1_000_000
"""values of an image, evenly taken, that are enough to tell its levels"""
_SCALED_AT_ONCE = 1 << 14
"""pixels with 16 bits: as float64, all of an image would take ten times the memory it has"""
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")


class Levels(NamedTuple):
    """The values of an image's pixels, as stored; with 16 bits, of those not transparent."""

    low: int
    """all but a thousandth of the values are at least this: cameras have dead pixels"""
    high: int
    """all but a thousandth are at most this: cameras have hot pixels"""
    deep: bool
    """whether a sample has 16 bits"""
    constant: bool
    """whether all pixels are one colour"""


@dataclass(frozen=True, eq=False)
class RawImage:
    """An image as stored.

    Attributes:
        pixels: uint8 or uint16, (H, W) or (H, W, 3).
        opacity: uint16 (H, W), of images with 16 bits that have transparency, else None.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    opacity: NDArray[np.uint16] | None = None

    @property
    def deep(self) -> bool:
        """Return whether a sample has 16 bits."""
        return self.pixels.dtype == np.uint16

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def levels(self) -> Levels:
        """Return the levels of the pixels."""
        seen = self.pixels.reshape(self.size[0] * self.size[1], -1)
        constant = True
        if self.opacity is not None:
            constant = bool((self.opacity == self.opacity[0, 0]).all())
            # As a mask of every value, for which NumPy makes no list of indices.
            visible = np.broadcast_to(self.opacity.reshape(-1, 1) > 0, seen.shape)
            seen = seen[visible].reshape(-1, seen.shape[1])
        if seen.size == 0:
            return Levels(0, 0, self.deep, constant)
        constant = constant and bool((seen == seen[0]).all())
        values = seen.ravel()[:: max(1, seen.size // _ENOUGH_VALUES)]
        out = len(values) // 1000
        counts = np.bincount(values).cumsum()
        low, high = np.searchsorted(counts, [out + 1, len(values) - out])
        return Levels(int(low), int(high), self.deep, constant)

    def in_8_bits(self, depth: int | None = None) -> NDArray[np.uint8]:
        """Return the pixels as uint8, (H, W) or (H, W, 3).

        Args:
            depth: the bits of 16 that span 0 to 255, None for all; what is above is white.
        """
        if not self.deep:
            return self.pixels.astype(np.uint8, copy=False)
        pixels = np.empty(self.pixels.shape, dtype=np.uint8)
        height, width = self.size
        step = max(1, _SCALED_AT_ONCE // width)
        for start in range(0, height, step):
            rows = slice(start, start + step)
            pixels[rows] = self._scaled(rows, 255 / highest(depth))
        return pixels

    def _scaled(self, rows: slice, scale: float) -> NDArray[np.uint8]:
        """Return some rows as 0 to 255, laid on white."""
        scaled = self.pixels[rows] * scale
        if self.opacity is not None:
            share = self.opacity[rows] / highest(None)
            share = share[..., None] if scaled.ndim == 3 else share
            scaled = scaled * share + 255 * (1 - share)
        rounded: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
        return rounded


def depth_in_use(value: int) -> int:
    """Return the fewest bits of ``DEPTHS`` that hold a value."""
    return next(depth for depth in DEPTHS if value <= highest(depth))


def highest(depth: int | None) -> int:
    """Return the highest value of ``depth`` bits; None for all that a sample has."""
    return int(2 ** (depth or FULL_DEPTH) - 1)


def read_raw(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> RawImage:
    """Read an image file in any common format, not yet scaled to 8 bits.

    The image is turned as its EXIF orientation says, and palettes are looked up. Transparency is
    laid on white, since the colour stored under it means nothing. Of several frames the first is
    read.

    Args:
        path: the file.
        max_megapixels: the largest image to read.

    Raises:
        UnreadableImage: the file is missing, damaged, no such image, or larger than
            ``max_megapixels``; the message names it.
    """
    path = Path(path)
    return decode(read_bytes(path), path, max_megapixels=max_megapixels)


def size_of(content: bytes) -> tuple[int, int]:
    """Return (H, W) as an image's file says; (0, 0) where it cannot be read."""
    try:
        with _PILLOWS_LIMIT.lifted(), Image.open(io.BytesIO(content)) as image:
            return image.height, image.width
    except Exception:  # whoever decodes it says what is wrong
        return 0, 0


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes.

    Raises:
        UnreadableImage: they cannot be read; the message names the file.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{shown(path)} cannot be read: {error.strerror}") from error


def decode(content: bytes, path: Path, *, max_megapixels: float | None = None) -> RawImage:
    """Decode an image from its file's bytes, as :func:`read_raw`.

    Args:
        content: the bytes.
        path: the file, for the message.
        max_megapixels: the largest image to decode; None for any.

    Raises:
        UnreadableImage: as :func:`read_raw`.
    """
    with _opened(content, path, max_megapixels) as image:
        return _raw(image, content, "white")


def decode_mask(
    content: bytes, path: Path, *, max_megapixels: float | None = None
) -> NDArray[np.bool_]:
    """Decode a mask from its file's bytes: bool (H, W), True where it marks a defect.

    A pixel is marked if it is not zero, whatever the value: tools write 1, 100 or 255, in 8 or 16
    bits, or a palette's colour. What is transparent is not marked. Edges ring in a JPEG, so there
    a pixel is marked from half of the highest value on.

    Args:
        content: the bytes.
        path: the file, for the message.
        max_megapixels: the largest mask to decode; None for any.

    Raises:
        UnreadableImage: as :func:`decode`.
    """
    with _opened(content, path, max_megapixels) as image:
        lossy = image.format in _LOSSY
        if image.mode in ("I", "F"):  # of any range: here only zero counts
            values = np.asarray(ImageOps.exif_transpose(image))
            if not np.isfinite(values).all():
                raise ValueError("some of its values are not finite")
            nonzero: NDArray[np.bool_] = values != 0
            return nonzero
        indices = np.asarray(ImageOps.exif_transpose(image)) if image.mode == "P" else None
        raw = _raw(image, content, "black")
        values = raw.pixels.max(-1) if raw.pixels.ndim == 3 else raw.pixels
        if raw.opacity is not None:
            values = np.where(raw.opacity > 0, values, 0)
        least = values.max() / 2 if lossy else 0.5
        marked = (values >= least) & (values > 0)
        if indices is not None and not marked.any():
            marked = indices != 0  # a palette that is black throughout
        return marked


@contextmanager
def _opened(content: bytes, path: Path, max_megapixels: float | None) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong inside is UnreadableImage, naming the file."""
    try:
        with _PILLOWS_LIMIT.lifted(), Image.open(io.BytesIO(content)) as image:
            megapixels = image.width * image.height / 1e6
            if max_megapixels is not None and megapixels > max_megapixels:
                raise ValueError(
                    f"it has {megapixels:.0f} megapixels, and max_megapixels, which keeps small "
                    f"files from filling the memory, is {max_megapixels:g}; raise it if the image "
                    "is meant to be so large"
                )
            yield image
    except (MemoryError, UnreadableImage):
        raise
    # Pillow's decoders raise anything at all on damaged files: OSError, SyntaxError, struct.error.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "the file is empty" if not content else "no known image format"
        raise UnreadableImage(f"{shown(path)} cannot be read as an image: {reason}") from error


class _PillowsLimit:
    """Pillow's limit of pixels, which is one for the whole process.

    Some formats check it again when they are decoded. Our limit is a setting, which its message
    names, so Pillow's is lifted while images are read.
    """

    def __init__(self) -> None:
        self._lock, self._readers, self._limit = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    @contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if not self._readers:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    Image.MAX_IMAGE_PIXELS = self._limit


_PILLOWS_LIMIT = _PillowsLimit()


def _raw(image: Image.Image, content: bytes, behind: str) -> RawImage:
    # Checked before the orientation is applied, since the turned copy forgets its format.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return RawImage(np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16))
    deep = any(rawmode.endswith((";16B", ";16L", ";16N")) for rawmode in _rawmodes(image))
    if _is_cut(image, content):
        raise ValueError(_OTHER_DEEP.format(f"{image.format} {image.mode}"))
    if deep:
        return _deep_colour(content)
    ImageOps.exif_transpose(image, in_place=True)  # a turned copy would take as much again
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed range; save it with 8 or 16 bits")
    wanted = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, behind), rgba).convert("RGB")
    return RawImage(np.array(image.convert(wanted)))


def _is_cut(image: Image.Image, content: bytes) -> bool:
    """Return whether Pillow takes one byte of each 16-bit sample, or each byte for a sample."""
    if image.format == "JPEG2000":
        # SIZ, the codestream's first marker, holds the bits of each component, less one.
        return content[content.find(b"\xff\x4f\xff\x51") + 42] & 0x7F > 7
    if isinstance(image, TiffImageFile):
        apart = image.tag_v2.get(_PLANAR_CONFIGURATION) == 2 and image.mode not in ("I", "F")
        return apart and max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8
    for tile in getattr(image, "tile", []):
        if tile.codec_name == "SGI16" or (tile.codec_name == "sgi_rle" and tile.args[-1] == 2):
            return True
        if tile.codec_name in ("ppm", "ppm_plain") and image.mode == "RGB" and tile.args[-1] > 255:
            return True
    return False


def _rawmodes(image: Image.Image) -> list[str]:
    """Return how Pillow will unpack each of the file's tiles, such as RGB;16B."""
    arguments = [tile.args for tile in getattr(image, "tile", [])]
    return [str(args[0] if isinstance(args, tuple) and args else args) for args in arguments]


_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def _deep_colour(content: bytes) -> RawImage:
    """Return 16-bit colour with both bytes, although Pillow keeps only the upper one.

    Pillow keeps the lower one if it unpacks the file as if its bytes were in the other order.
    """
    image, tiles = Image.open(io.BytesIO(content)), []
    for tile, rawmode in zip(image.tile, _rawmodes(image), strict=True):
        if image.mode not in ("RGB", "RGBA") or not rawmode.startswith(("RGB;", "RGBA;", "RGBX;")):
            raise ValueError(_OTHER_DEEP.format(rawmode))
        other = rawmode[:-1] + _OTHER_BYTE[rawmode[-1]]
        args = (other, *tile.args[1:]) if isinstance(tile.args, tuple) else other
        tiles.append(tile._replace(args=args))
    values = _unpacked(content, image.tile).astype(np.uint16)
    values <<= 8
    values |= _unpacked(content, tiles)
    opacity = np.ascontiguousarray(values[..., 3]) if values.shape[-1] == 4 else None
    return RawImage(np.ascontiguousarray(values[..., :3]), opacity)


def _unpacked(content: bytes, tiles: list[Any]) -> NDArray[np.uint8]:
    """Return an image as Pillow unpacks these tiles of it, turned as its orientation says."""
    # One that ends here: an image keeps its pixels as long as it lives.
    image = Image.open(io.BytesIO(content))
    image.tile = tiles
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)
