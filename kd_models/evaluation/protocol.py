"""Evaluation protocols: which test images set thresholds and choices (docs/adr/0003)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

EvaluationProtocol = Literal["paper", "holdout"]
"""``paper``: thresholds and comparisons use the test split itself, as both papers do.
``holdout``: threshold and choice use one half, every reported rate the other."""

HOLDOUT_SEED = 0


@dataclass(frozen=True)
class Holdout:
    """Two disjoint halves of the test images, each (N,) bool."""

    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]


def holdout_split(labels: NDArray[np.int64]) -> Holdout:
    """Split test images of classes ``labels`` (N,) in two halves, stratified by class.

    The same labels always give the same halves. The odd images of classes go to alternate halves,
    so that those of many small classes do not all land in one.
    """
    rng = np.random.default_rng(HOLDOUT_SEED)
    validation = np.zeros(len(labels), dtype=bool)
    first = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        validation[members[first::2]] = True
        first = (first + len(members)) % 2
    return Holdout(validation, ~validation)
