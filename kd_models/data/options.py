"""Options of the loaders of datasets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kd_score.read_image import MAX_MEGAPIXELS

Unreadable = Literal["stop", "skip"]
"""Whether a file that cannot be read stops the loading, or is skipped and noted."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a loader may do and must read.

    Attributes:
        unreadable: whether an image that cannot be read stops the loading or is skipped.
        download: whether missing files may be downloaded.
        classes: the canonical keys of the classes that will be used; None for all. A loader whose
            classes lie in files of their own reads only theirs; the others read everything.
        depth: the bits in use of images with 16 bits a sample; None for those that the training
            images of the class have in use.
        max_megapixels: larger images cannot be read.
        tell: told now and then how far the reading of many files is.
    """

    unreadable: Unreadable = "stop"
    download: bool = True
    classes: tuple[str, ...] | None = None
    depth: int | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    tell: Callable[[str], None] = lambda line: None
