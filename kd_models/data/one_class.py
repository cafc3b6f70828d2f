"""The one-class task: training sees the normal class alone; everything else is novel."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kd_models.data.converted import ConvertedImages
from kd_models.data.datasets import resolve_class
from kd_models.data.errors import DataError
from kd_models.data.image_files import ImageFiles
from kd_models.data.image_set import Images, ImageSet
from kd_models.data.preprocess import to_model_input, to_model_masks


@dataclass(frozen=True, eq=False)
class OneClassData:
    """A dataset with one class as the normal one, ready for the networks.

    If the class is one of MVTec's categories, ``test`` has the images of this category alone,
    ``labels`` are their kinds of defect (0 is good), all but the good ones are novel, and
    ``fingerprint`` is the category's.

    Attributes:
        dataset: name of the dataset.
        normal_class: canonical key of the normal class.
        fingerprint: of the content that the task uses.
        train: the training split's normal images, float32 (n, C, S, S) in [-1, 1].
        test: the whole test split, (m, C, S, S).
        novel: bool (m,), True where the class is not the normal one.
        labels: int64 (m,), the dataset's own class indices (of a folder 0 normal, 1 novel).
        names: the test images' paths inside a folder dataset or MVTec's tree, else None.
        masks: bool (m, S, S), True where a pixel is defective; None if there is not a single mask.
        masked: bool (m,), whether the pixels' truth is known, as it is of every good image; None
            if there is not a single mask.
    """

    dataset: str
    normal_class: str
    fingerprint: str
    train: Tensor
    test: Tensor
    novel: Tensor
    labels: Tensor
    names: tuple[str, ...] | None
    masks: Tensor | None = None
    masked: Tensor | None = None


def one_class(
    image_set: ImageSet,
    normal_class: str,
    *,
    image_size: int,
    channels: int,
    convert: Callable[..., Tensor] = to_model_input,
) -> OneClassData:
    """Take one class as normal: its images alone to train on, the whole test split to test on.

    This is both papers' protocol; a category of MVTec has its own test images. Only the images
    that are used are converted.

    Args:
        image_set: the dataset.
        normal_class: the class, as :func:`resolve_class` takes it.
        image_size: pixels a side of the converted images.
        channels: of the converted images, 1 or 3.
        convert: converts images, with the arguments of :func:`to_model_input`.

    Raises:
        DataError: the class is unknown; and as :func:`check_task`.
    """
    key = resolve_class(image_set.row, normal_class)
    fingerprint = image_set.fingerprint_of(key)
    chosen, tested, labels = check_task(image_set, key)
    novel = _novel(image_set, key, labels)
    names = image_set.test_names
    masks, masked = _masks(image_set, tested, image_size)
    return OneClassData(
        dataset=image_set.name,
        normal_class=key,
        fingerprint=fingerprint,
        train=convert(
            _select(image_set.train.images, chosen), image_size=image_size, channels=channels
        ),
        test=convert(
            _select(image_set.test.images, tested), image_size=image_size, channels=channels
        ),
        novel=novel,
        labels=labels,
        names=names if names is None else tuple(names[i] for i in _indices(tested)),
        masks=masks,
        masked=masked,
    )


def check_task(image_set: ImageSet, key: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return which training and test images (bool) a task is made of, and the test labels (int64).

    Nothing is converted.

    Raises:
        DataError: there is no training image of the class, or there are fewer than two normal or
            two novel test images: the holdout protocol halves both.
    """
    index = list(image_set.row.classes).index(key)
    classes, defects = image_set.test.labels, image_set.test_defects
    chosen = image_set.train.labels == index
    tested = torch.ones_like(classes, dtype=torch.bool) if defects is None else classes == index
    labels = classes if defects is None else defects[tested]
    novel = _novel(image_set, key, labels)
    where = f"{image_set.name}, normal class {key}"
    if not chosen.any():
        raise DataError(f"{where}: no training image; expected at least 1")
    for kind, count in (("normal", int((~novel).sum())), ("novel", int(novel.sum()))):
        if count < 2:
            raise DataError(
                f"{where}: {count} {kind} test images; expected at least 2, one for each half of "
                "the holdout protocol"
            )
    return chosen, tested, labels


def check_learnable(image_set: ImageSet, key: str) -> int:
    """Return the number of training images of a normal class.

    Raises:
        DataError: as :func:`check_task`, or each of these images is constant.
    """
    chosen, *_ = check_task(image_set, key)
    count = int(chosen.sum())
    if _all_constant(_select(image_set.train.images, chosen)):
        raise DataError(
            f"{image_set.name}, normal class {key}: each of the {count} training images is of one "
            "colour throughout, so there is nothing to learn; were they saved as they should be?"
        )
    return count


def _novel(image_set: ImageSet, key: str, labels: Tensor) -> Tensor:
    if image_set.test_defects is not None:
        return labels > 0
    return labels != list(image_set.row.classes).index(key)


def _all_constant(images: Images) -> bool:
    if isinstance(images, ConvertedImages):
        return False  # or they would not have come so far
    if isinstance(images, ImageFiles):
        return all(file.levels is not None and file.levels.constant for file in images.files)
    # This almost always ends at the first image.
    return all(bool((image == image[:, :1, :1]).all()) for image in images)


def _masks(
    image_set: ImageSet, tested: Tensor, image_size: int
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    if image_set.masks is None:
        return None, None
    masks = image_set.masks.take(_indices(tested))
    return to_model_masks(masks, image_size=image_size) if masks.has_files else (None, None)


def _select(images: Images, chosen: Tensor) -> Images:
    # A test split is usually taken whole, which needs no copy.
    if bool(chosen.all()):
        return images
    if isinstance(images, Tensor):
        return images[chosen]
    indices = _indices(chosen)
    if isinstance(images, ImageFiles | ConvertedImages):
        return images.take(indices)  # read when they are asked for
    return [images[index] for index in indices]


def _indices(chosen: Tensor) -> list[int]:
    return [int(index) for index in torch.nonzero(chosen)]
