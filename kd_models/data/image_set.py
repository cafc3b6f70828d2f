"""A dataset as its loader leaves it: raw images, whole classes, nothing resized yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

Images = Tensor | Sequence[Tensor]
"""uint8: one tensor (N, C, H, W), or one (C, H, W) each where sizes differ; C is 1 or 3."""

Unreadable = Literal["stop", "skip"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a loader may do: fetch what is missing, go on past an image it cannot read."""

    unreadable: Unreadable = "stop"
    download: bool = True


@dataclass(frozen=True, eq=False)
class Split:
    """Raw images and their class indices, int64 (N,)."""

    images: Images
    labels: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """What a loader returns; see `ImageSet` for the fields."""

    train: Split
    test: Split
    fingerprint: str
    test_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """One dataset this project knows, as a plain value.

    `channels` and `image_size` are what the networks get, not what is stored. `classes` maps the
    canonical key to the display name, in the order of the class indices. `student_widths` are
    those of P-KDGAN's students (its section 4.1; the nearest of them where the paper has none).
    """

    name: str
    channels: int
    image_size: int
    classes: Mapping[str, str] = field(hash=False)
    student_widths: tuple[int, int, int]
    load: Callable[[Path, LoadOptions], Splits] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """A loaded dataset with all its classes.

    `fingerprint` is a SHA-256 in hex over the content, the same wherever the files lie.
    `test_names` are the test images' paths inside a folder dataset, else None.
    `skipped` are the paths of images left out because they could not be read.
    """

    row: DatasetRow
    train: Split
    test: Split
    fingerprint: str
    test_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.row.name
