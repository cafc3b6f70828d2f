"""What a few runs say: spread over seeds, and whether two configurations can be told apart."""

from collections.abc import Sequence
from statistics import stdev

import numpy as np

SIGNIFICANT = 0.05
FEWEST_PAIRS = 6
"""with fewer no difference, however large, has a p below 0.05: of 5 it is at least 2 / 2^5"""

_EXACT_UP_TO = 14
"""pairs: so many signs (16,384) are tried one by one, of more as many are drawn at random"""


def spread(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None of fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def paired_p(differences: Sequence[float]) -> float | None:
    """Return how likely so large a mean difference is if the sign of each is a toss of a coin.

    This is the two-sided permutation test of paired samples, exact for few pairs: it asks nothing
    of how differences are distributed. Pairs are of one task and seed, so it tells whether other
    seeds would show the difference on the same tasks.

    Args:
        differences: one for each pair.

    Returns:
        The p value; None of fewer than :data:`FEWEST_PAIRS`.
    """
    if len(differences) < FEWEST_PAIRS:
        return None
    from scipy.stats import permutation_test  # a second to import, and only comparisons need it

    values = np.asarray(differences)
    found = permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**_EXACT_UP_TO,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for how many there are (Holm 1979), in their order.

    What is None stays None and does not count.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[place] = largest
    return corrected
