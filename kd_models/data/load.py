"""Loading a dataset by name."""

from pathlib import Path

from kd_models.data.image_files import Unreadable
from kd_models.data.image_set import ImageSet, LoadOptions
from kd_models.data.rows import dataset_row


def load(
    name: str,
    root: Path,
    *,
    unreadable: Unreadable = "stop",
    download: bool = True,
    classes: tuple[str, ...] | None = None,
) -> ImageSet:
    """Loads a dataset: a built-in one, kept under `root`, or "folder:PATH" or "mvtec:PATH".

    A built-in dataset that is not under `root` is downloaded into it where `download`, except
    MVTec AD. Of a folder dataset or MVTec's tree, an image or mask that cannot be read stops the
    loading, or is skipped and noted in `ImageSet.skipped`. `classes`: the canonical keys of those
    that will be used, None for all; of MVTec's tree no other is read.

    Raises DataError for an unknown name or a tree that is not as expected, DatasetMissing where
    files are missing and cannot be had, UnreadableImage where `unreadable` is "stop".
    """
    row = dataset_row(name)
    splits = row.load(
        Path(root).expanduser().absolute(),
        LoadOptions(unreadable=unreadable, download=download, classes=classes),
    )
    return ImageSet(
        row=row,
        train=splits.train,
        test=splits.test,
        fingerprint=splits.fingerprint,
        test_names=splits.test_names,
        skipped=splits.skipped,
        test_defects=splits.test_defects,
        masks=splits.masks,
        class_fingerprints=splits.class_fingerprints,
    )
