"""One image file to a tensor."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from kd_models.data.errors import UnreadableImage

_FORMATS = (
    "png apng jpg jpeg jpe jfif bmp dib gif tif tiff webp avif jp2 j2k jpx pbm pgm ppm pnm"
    " pcx qoi ras sgi tga"
)
SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
"""File suffixes, in lower case, by which a folder dataset knows its images."""

_GREY = ("1", "L", "LA", "La")


def read_image(path: Path | str) -> Tensor:
    """Reads an image file in any common format: uint8 (C, H, W), C 1 for grey and 3 for colour.

    Turned as its EXIF orientation says; palettes looked up; transparency laid on white, since the
    colour stored under it means nothing; 16 bits cut to their upper 8, as Pillow does for 16-bit
    RGB; the first frame where there are several.

    Raises UnreadableImage, naming the file, where it is missing, damaged or no such image.
    """
    path = Path(path)
    return decode(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The file's bytes; raises UnreadableImage, naming the file, where they cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path} cannot be read: {error.strerror}") from error


def decode(content: bytes, path: Path, behind: str = "white") -> Tensor:
    """`read_image` on bytes already read; `path` is for the message.

    `behind`: the colour that transparency is laid on.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _to_tensor(image, behind)
    except MemoryError:
        raise
    # Pillow's decoders raise anything at all on damaged files: OSError, SyntaxError, struct.error.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "the file is empty" if not content else "no known image format"
        raise UnreadableImage(f"{path} cannot be read as an image: {reason}") from error


def _to_tensor(image: Image.Image, behind: str) -> Tensor:
    # Asked for before the orientation is applied: the turned copy forgets its format.
    sixteen_bit = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    image = ImageOps.exif_transpose(image)
    if sixteen_bit:
        # Pillow's own convert("L") would clip everything above 255 to white.
        return torch.from_numpy((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))[None]
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed range; save it with 8 or 16 bits")
    wanted = "L" if image.mode in _GREY else "RGB"
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, behind), rgba).convert("RGB")
    pixels = torch.from_numpy(np.array(image.convert(wanted)))
    return pixels[None] if wanted == "L" else pixels.permute(2, 0, 1).contiguous()
