"""A dataset as its loader leaves it: raw images, whole classes, nothing resized yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from kd_models.data.errors import DataError
from kd_models.data.mask_files import MaskFiles
from kd_models.data.options import LoadOptions

Images = Tensor | Sequence[Tensor]
"""uint8: one tensor (N, C, H, W), or one (C, H, W) each where sizes differ; C is 1 or 3."""


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
    test_defects: Tensor | None = None
    masks: MaskFiles | None = None
    class_fingerprints: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    depths: Mapping[str, int | None] | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """One dataset this project knows, as a plain value.

    Attributes:
        name: as sweep files write it.
        channels: 3 for colour, 1 for grey; a method may want others.
        classes: the canonical keys with their display names, in the order of the class indices.
        load: reads the dataset.
    """

    name: str
    channels: int
    classes: Mapping[str, str] = field(hash=False)
    load: Callable[[Path, LoadOptions], Splits] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """A loaded dataset with all its classes.

    `fingerprint` is a SHA-256 in hex over the content, the same wherever the files lie.
    `test_names` are the test images' paths inside a folder dataset or MVTec's tree, else None.
    `skipped` are the paths of images and masks left out because they could not be read. `notes`
    are sentences on what looks wrong with the files. `depths`: by class, of training images that
    are files, the bits in use where a sample has 16; None where none has.

    MVTec's classes are categories, each with test images of its own. Such datasets have, besides:
    `test_defects`, int64 (m,): 0 where the test image is good, and k where it lies in its
    category's k-th folder of defects, in sorted order; `masks`, which pixels of each test image
    are defective; `class_fingerprints`, one for each category that was loaded. Elsewhere they are
    None.
    """

    row: DatasetRow
    train: Split
    test: Split
    fingerprint: str
    test_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    test_defects: Tensor | None = None
    masks: MaskFiles | None = None
    class_fingerprints: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    depths: Mapping[str, int | None] | None = None

    def depth_of(self, normal_class: str) -> int | None:
        """Return the bits in use of training images with 16 bits a sample; None without such.

        Args:
            normal_class: of the task, its canonical key.
        """
        return (self.depths or {}).get(normal_class)

    @property
    def name(self) -> str:
        """Return the row's name."""
        return self.row.name

    def fingerprint_of(self, normal_class: str) -> str:
        """The fingerprint of all that the task with this class as the normal one is made of.

        That is `fingerprint`, but for datasets in which a category has one of its own.
        `normal_class` is the canonical key; raises DataError where that category was not loaded.
        """
        if self.class_fingerprints is None:
            return self.fingerprint
        try:
            return self.class_fingerprints[normal_class]
        except KeyError:
            loaded = ", ".join(self.class_fingerprints)
            raise DataError(
                f"{self.name}: category {normal_class!r} was not loaded; there are {loaded}"
            ) from None
