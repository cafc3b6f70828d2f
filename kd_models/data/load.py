"""Loading a dataset by name."""

from pathlib import Path

from kd_models.data.image_set import ImageSet, LoadOptions, Unreadable
from kd_models.data.rows import dataset_row


def load(
    name: str, root: Path, *, unreadable: Unreadable = "stop", download: bool = True
) -> ImageSet:
    """Loads a dataset: a built-in one, kept under the folder `root`, or "folder:PATH".

    A built-in dataset that is not under `root` is downloaded into it where `download`. Of a folder
    dataset, an image that cannot be read stops the loading, or is skipped and noted in
    `ImageSet.skipped`.

    Raises DataError for an unknown name or a tree that is not as expected, DatasetMissing where
    files are missing and cannot be had, UnreadableImage where `unreadable` is "stop".
    """
    row = dataset_row(name)
    splits = row.load(
        Path(root).expanduser().absolute(), LoadOptions(unreadable=unreadable, download=download)
    )
    return ImageSet(
        row=row,
        train=splits.train,
        test=splits.test,
        fingerprint=splits.fingerprint,
        test_names=splits.test_names,
        skipped=splits.skipped,
    )
