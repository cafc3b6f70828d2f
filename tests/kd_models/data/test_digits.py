from pathlib import Path

import numpy as np
import torch
from sklearn import datasets

from kd_models.data import load


def test_every_digit_is_in_one_split_scaled_to_bytes() -> None:
    loaded = load("digits", Path("unused"))
    assert isinstance(loaded.train.images, torch.Tensor)
    assert isinstance(loaded.test.images, torch.Tensor)
    images = torch.cat([loaded.train.images, loaded.test.images]).numpy()
    labels = torch.cat([loaded.train.labels, loaded.test.labels]).numpy()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.uint8
    source = datasets.load_digits()
    # 0 to 16 and back: level * 255/16 rounds to within half a step of itself.
    restored = np.rint(images[:, 0] * (16 / 255))
    found = sorted(zip(map(bytes, restored.astype(np.uint8)), labels.tolist(), strict=True))
    expected = zip(map(bytes, source.images.astype(np.uint8)), source.target.tolist(), strict=True)
    assert found == sorted(expected)
    assert (images.min(), images.max()) == (0, 255)


def test_the_split_is_seventy_thirty_in_every_class() -> None:
    loaded = load("digits", Path("unused"))
    train, test = loaded.train.labels.bincount(), loaded.test.labels.bincount()
    assert train.tolist() == (0.7 * (train + test)).round().long().tolist()
    assert len(train) == 10


def test_the_split_is_drawn_not_cut_and_the_same_each_time() -> None:
    loaded = load("digits", Path("unused"))
    assert loaded.fingerprint == load("digits", Path("elsewhere")).fingerprint
    # Stored results are found by it: another split would orphan them.
    assert loaded.fingerprint == DIGITS_FINGERPRINT
    assert isinstance(loaded.train.images, torch.Tensor)
    first = torch.from_numpy(datasets.load_digits().target[: len(loaded.train.labels)])
    assert not torch.equal(loaded.train.labels, first)


DIGITS_FINGERPRINT = "3319ee70f5d1516d60d66af8634a847bcca1913f5b742b454c52e7df0f64fb73"
