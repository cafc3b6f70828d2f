"""Datasets as their loaders return them: raw images of all classes, not resized yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from kd_models.data.converted import ConvertedImages, ConvertedMasks
from kd_models.data.errors import DataError
from kd_models.data.mask_files import MaskFiles
from kd_models.data.options import LoadOptions

Images = Tensor | Sequence[Tensor] | ConvertedImages
"""Raw images, uint8: a tensor (N, C, H, W), or several (C, H, W) if sizes differ; C is 1 or 3. Or
images that were converted already."""


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset.

    Attributes:
        images: raw images.
        labels: their class indices, int64 (N,).
    """

    images: Images
    labels: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """The result of a loader; see :class:`ImageSet` for the fields."""

    train: Split
    test: Split
    fingerprint: str
    test_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    test_defects: Tensor | None = None
    masks: MaskFiles | ConvertedMasks | None = None
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
        licence: of its images, as the Hugging Face Hub spells it; ``other`` where that has no name.
    """

    name: str
    channels: int
    classes: Mapping[str, str] = field(hash=False)
    load: Callable[[Path, LoadOptions], Splits] = field(repr=False)
    licence: str = "other"


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """A loaded dataset with all its classes.

    MVTec's classes are categories, each with test images of its own. Only such datasets have
    ``test_defects``, ``masks`` and ``class_fingerprints``; elsewhere they are None.

    Attributes:
        row: the dataset's row.
        train: the training split.
        test: the test split.
        fingerprint: SHA-256 in hex over the content, the same wherever the files lie.
        test_names: the test images' paths inside a folder dataset or MVTec's tree, else None.
        skipped: the paths of images and masks left out because they could not be read.
        test_defects: int64 (m,), 0 where the test image is good, and k where it lies in its
            category's k-th folder of defects, in sorted order.
        masks: which pixels of each test image are defective.
        class_fingerprints: one for each category that was loaded.
        notes: sentences on what looks wrong with the files.
        depths: by class, the bits in use of training images that are files with 16 bits a sample;
            None where no training image of the class has 16.
    """

    row: DatasetRow
    train: Split
    test: Split
    fingerprint: str
    test_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    test_defects: Tensor | None = None
    masks: MaskFiles | ConvertedMasks | None = None
    class_fingerprints: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    depths: Mapping[str, int | None] | None = None

    def depth_of(self, normal_class: str) -> int | None:
        """Return the bits in use of training images with 16 bits a sample; None without such.

        Args:
            normal_class: the canonical key of the task's normal class.
        """
        return (self.depths or {}).get(normal_class)

    @property
    def name(self) -> str:
        """Return the row's name."""
        return self.row.name

    def fingerprint_of(self, normal_class: str) -> str:
        """Return the fingerprint of everything that the task with this normal class uses.

        It is the category's own where categories have one, else ``fingerprint``.

        Args:
            normal_class: its canonical key.

        Raises:
            DataError: the category was not loaded.
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
