"""The task: one class is normal and trained on alone; all else in the test split is novel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd_models.data.errors import DataError
from kd_models.data.image_set import Images, ImageSet
from kd_models.data.preprocess import to_model_input
from kd_models.data.rows import resolve_class


@dataclass(frozen=True, eq=False)
class OneClassData:
    """A dataset with one class as the normal one, ready for the networks.

    `train`: the training split's normal images, float32 (n, C, S, S) in [-1, 1].
    `test`: the whole test split, (m, C, S, S). `novel`: bool (m,), True where the class is not
    the normal one. `labels`: int64 (m,), the dataset's own class indices (of a folder 0 normal,
    1 novel). `names`: the test images' paths inside a folder dataset, else None.
    """

    dataset: str
    normal_class: str
    fingerprint: str
    train: Tensor
    test: Tensor
    novel: Tensor
    labels: Tensor
    names: tuple[str, ...] | None


def one_class(
    image_set: ImageSet, normal_class: str, *, image_size: int, channels: int
) -> OneClassData:
    """Takes one class as normal: trains on it alone, tests on the whole test split.

    Source: both papers' protocol. Only the images that are used are converted.

    Raises DataError for an unknown class, and where there is no training image of it or there are
    fewer than two normal or two novel test images: the holdout protocol halves both.
    """
    key = resolve_class(image_set.row, normal_class)
    index = list(image_set.row.classes).index(key)
    labels = image_set.test.labels
    novel = labels != index
    chosen = image_set.train.labels == index
    _check(image_set, key, int(chosen.sum()), int((~novel).sum()), int(novel.sum()))
    return OneClassData(
        dataset=image_set.name,
        normal_class=key,
        fingerprint=image_set.fingerprint,
        train=to_model_input(
            _select(image_set.train.images, chosen), image_size=image_size, channels=channels
        ),
        test=to_model_input(image_set.test.images, image_size=image_size, channels=channels),
        novel=novel,
        labels=labels,
        names=image_set.test_names,
    )


def _check(image_set: ImageSet, key: str, train: int, normal: int, novel: int) -> None:
    where = f"{image_set.name}, normal class {key}"
    if train < 1:
        raise DataError(f"{where}: no training image; expected at least 1")
    for kind, count in (("normal", normal), ("novel", novel)):
        if count < 2:
            raise DataError(
                f"{where}: {count} {kind} test images; expected at least 2, one for each half of "
                "the holdout protocol"
            )


def _select(images: Images, chosen: Tensor) -> Images:
    if isinstance(images, Tensor):
        return images[chosen]
    # A folder's training images are all normal: kept as the sequence that reads them one by one.
    return (
        images
        if bool(chosen.all())
        else [images[i] for i in torch.nonzero(chosen).flatten().tolist()]
    )
