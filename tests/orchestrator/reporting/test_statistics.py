"""Spread, the paired test and its correction, against values worked out by hand."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reporting.statistics import can_tell, holm, paired_p, pareto_front, spread


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread([1.0, 3.0]) == pytest.approx(2**0.5)
    assert spread([1.0]) is None
    assert spread([]) is None


def test_every_sign_alike_has_the_least_p_there_is() -> None:
    assert paired_p([0.01] * 6) == pytest.approx(2 / 2**6)


@pytest.mark.parametrize(
    ("differences", "comparisons", "can"),
    [(0, 1, False), (5, 1, False), (6, 1, True), (6, 2, False), (10, 25, True), (10, 26, False)],
)
def test_whether_anything_could_be_told(differences: int, comparisons: int, can: bool) -> None:
    assert can_tell(differences, comparisons) == can


@given(st.lists(st.integers(-50, 50).map(lambda n: n / 64), min_size=2, max_size=8))
def test_p_is_the_share_of_signs_that_go_as_far(differences: list[float]) -> None:
    found = paired_p(differences)
    signs = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(each, differences, strict=True))) for each in signs]
    as_far = sum(each >= abs(sum(differences)) for each in sums)
    assert found == pytest.approx(as_far / len(signs))


def test_many_pairs_are_drawn_the_same_each_time() -> None:
    differences = [0.02 + 0.01 * (n % 5 - 2) for n in range(30)]
    assert paired_p(differences) == paired_p(differences)
    assert paired_p(differences) < 0.001
    assert paired_p([d - 0.02 for d in differences]) > 0.9


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1.0, 0.5)], [0]),
        ([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4)], [1, 0]),  # dearer and worse
        ([(1.0, 0.5), (2.0, 0.5)], [0]),  # dearer and no better
        ([(1.0, 0.5), (1.0, 0.6)], [1]),  # as cheap and worse
        ([(1.0, 0.5), (1.0, 0.5)], [0]),
        ([(2.0, 0.7), (1.0, 0.5), (3.0, 0.6), (4.0, 0.8)], [1, 0, 3]),
    ],
)
def test_the_pareto_front_is_what_no_other_beats_cheapest_first(
    points: list[tuple[float, float]], front: list[int]
) -> None:
    assert pareto_front(points) == front
