"""scikit-learn's digits: 1,797 real handwritten digits that need no download."""

from pathlib import Path

import numpy as np
import torch

from kd_models.data.fingerprint import array_splits
from kd_models.data.image_set import Split, Splits
from kd_models.data.options import LoadOptions

_TRAIN_SHARE = 0.7
_SPLIT_SEED = 0


def load_digits(root: Path, options: LoadOptions) -> Splits:
    """Load the test half of the UCI optical digits, as scikit-learn ships it.

    Images are uint8 (N, 1, 8, 8); their levels 0 to 16 become 0 to 255. There is no official
    split. This one is fixed: of each class 70% (to the nearest image), drawn with seed 0, are for
    training and the rest for testing; both keep the order of the source. ``root`` and ``options``
    are not needed.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    # RandomState, not default_rng: NumPy promises that its stream never changes (NEP 19).
    random = np.random.RandomState(_SPLIT_SEED)
    train = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = random.permutation(np.flatnonzero(digits.target == label))
        train[members[: round(_TRAIN_SHARE * len(members))]] = True
    chosen = torch.from_numpy(train)
    return array_splits(
        Split(images[chosen], labels[chosen]), Split(images[~chosen], labels[~chosen])
    )
