"""Which files below a folder are images."""

import os
from collections.abc import Iterator
from pathlib import Path

_FORMATS = (
    "png apng jpg jpeg jpe jfif bmp dib gif tif tiff webp avif jp2 j2k jpx pbm pgm ppm pnm"
    " pcx qoi ras sgi tga"
)
SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
"""File suffixes, in lower case, by which a folder dataset knows its images."""


def image_paths(folder: Path) -> Iterator[Path]:
    """Yield every image file below ``folder``, as the loaders find them, in no order.

    Hidden files and folders and files without an image suffix are left out.
    """
    seen: set[str] = set()
    # Links are followed, since data often lies elsewhere; ``seen`` stops links that point back up.
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)
