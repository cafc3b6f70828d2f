from pathlib import Path

import pytest
import torch

from kd_models.data import DataError, ImageSet, Split, dataset_row, load, one_class


def _set(train: list[int], test: list[int]) -> ImageSet:
    """Fashion-MNIST in little: image i of a split is plain, of level i (+100 in the test split)."""

    def split(labels: list[int], first: int) -> Split:
        levels = torch.arange(first, first + len(labels), dtype=torch.uint8)
        return Split(levels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), torch.tensor(labels))

    return ImageSet(
        row=dataset_row("fmnist"), train=split(train, 0), test=split(test, 100), fingerprint="f"
    )


def _levels(images: torch.Tensor) -> list[int]:
    assert images.amax((1, 2, 3)).sub(images.amin((1, 2, 3))).max() < 1e-5
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_the_normal_class_trains_and_the_whole_test_split_tests() -> None:
    data = one_class(_set([8, 1, 8, 2], [8, 0, 8, 9, 1]), "bag", image_size=6, channels=3)
    assert (data.dataset, data.normal_class, data.fingerprint) == ("fmnist", "8", "f")
    assert data.train.shape == (2, 3, 6, 6)
    assert _levels(data.train) == [0, 2]
    assert data.test.shape == (5, 3, 6, 6)
    assert _levels(data.test) == [100, 101, 102, 103, 104]
    assert data.novel.dtype == torch.bool
    assert data.novel.tolist() == [False, True, False, True, True]
    assert data.labels.tolist() == [8, 0, 8, 9, 1]
    assert data.names is None
    assert (data.masks, data.masked) == (None, None)


def test_the_class_may_be_a_key_or_a_name_in_any_case() -> None:
    image_set = _set([8, 1], [8, 8, 1, 1])
    assert {
        one_class(image_set, name, image_size=4, channels=1).normal_class for name in ("8", "BAG")
    } == {"8"}


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(DataError, match="did you mean Bag"):
        one_class(_set([8], [8, 8, 1, 1]), "bags", image_size=4, channels=1)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([1, 2], [8, 8, 1, 1], "fmnist, normal class 8: no training image; expected at least 1"),
        ([8], [8, 1, 1], "normal class 8: 1 normal test images; expected at least 2"),
        ([8], [8, 8, 1], "normal class 8: 1 novel test images; expected at least 2"),
        ([8], [8, 8], "normal class 8: 0 novel test images; expected at least 2"),
    ],
)
def test_too_few_images_are_refused(train: list[int], test: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        one_class(_set(train, test), "8", image_size=4, channels=1)


def test_just_enough_images_are_taken() -> None:
    data = one_class(_set([8], [8, 8, 1, 1]), "8", image_size=4, channels=1)
    assert (len(data.train), int(data.novel.sum())) == (1, 2)


def test_digits_all_the_way() -> None:
    image_set = load("digits", Path("unused"))
    data = one_class(image_set, "3", image_size=32, channels=1)
    assert data.fingerprint == image_set.fingerprint
    assert data.train.shape == (int((image_set.train.labels == 3).sum()), 1, 32, 32)
    assert len(data.test) == 539
    assert torch.equal(data.novel, image_set.test.labels != 3)
    # The same digit looks more like the training mean than the others do.
    distance = (data.test - data.train.mean(0)).square().mean((1, 2, 3))
    assert distance[~data.novel].mean() < 0.7 * distance[data.novel].mean()
