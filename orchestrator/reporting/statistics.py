"""What a few runs say: spread over seeds, and whether two configurations can be told apart."""

from collections.abc import Sequence
from statistics import stdev

import numpy as np

SIGNIFICANT = 0.05
_EXACT_UP_TO = 14
"""differences: so many signs (16,384) are tried one by one, of more as many are drawn at random"""


def spread(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None of fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def can_tell(differences: int, comparisons: int = 1) -> bool:
    """Return whether so many differences could be significant at all.

    If all have one sign, p is 2 / 2^n: with six of them 0.03, which one comparison allows and a
    correction for several does not.
    """
    return differences > 0 and comparisons * 0.5 ** (differences - 1) < SIGNIFICANT


def paired_p(differences: Sequence[float]) -> float:
    """Return how likely so large a mean difference is if the sign of each is a toss of a coin.

    This is the two-sided permutation test of paired samples, exact for few: it asks nothing of how
    differences are distributed. They have to be independent of each other.

    Args:
        differences: at least two.
    """
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for how many there are (Holm 1979), in their order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted((p, place) for place, p in enumerate(p_values))):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of the points that no other one beats, cheapest first.

    A point is beaten by one that is at least as good and as cheap, and better in one of the two. Of
    points that are alike in both, the first is on the front.

    Args:
        points: cost and merit of each.
    """
    ordered = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    front: list[int] = []
    for place in ordered:
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front
