"""Loading a dataset by name."""

from dataclasses import fields
from pathlib import Path

from kd_models.data.datasets import dataset_row
from kd_models.data.image_set import ImageSet, Splits
from kd_models.data.options import LoadOptions


def load(name: str, root: Path, options: LoadOptions | None = None) -> ImageSet:
    """Load a dataset: a built-in one, kept under ``root``, or "folder:PATH" or "mvtec:PATH".

    A built-in dataset that is not under ``root`` is downloaded into it where the options allow it,
    except MVTec AD. An image or mask of a folder dataset or MVTec's tree that cannot be read stops
    the loading, or is skipped and noted in ``ImageSet.skipped``.

    Raises:
        DataError: the name is unknown, or a tree is not as expected.
        DatasetMissing: files are missing and cannot be had.
        UnreadableImage: an image or mask cannot be read and ``options.unreadable`` is "stop".
    """
    row = dataset_row(name)
    splits = row.load(Path(root).expanduser().absolute(), options or LoadOptions())
    return ImageSet(row=row, **{each.name: getattr(splits, each.name) for each in fields(Splits)})
