import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kd_models.evaluation.metrics import (
    MetricsError,
    Rates,
    auroc,
    aurocs,
    evaluate,
    rates,
    roc_curve,
    youden_threshold,
)
from kd_models.evaluation.protocol import Holdout


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and both classes."""
    novel = draw(st.lists(st.booleans(), min_size=2, max_size=40))
    assume(any(novel) and not all(novel))
    size = len(novel)
    levels = draw(st.lists(st.integers(-6, 6), min_size=size, max_size=size))
    return np.array(levels, dtype=np.float64) / 4, np.array(novel)


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def flags(text: str) -> np.ndarray:
    """``"-+"``: one normal, one novel."""
    return np.array([letter == "+" for letter in text])


@given(scored())
def test_auroc_is_scikit_learn_s(case: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.metrics import roc_auc_score

    scores, novel = case
    assert auroc(scores, novel) == pytest.approx(roc_auc_score(novel, scores), abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=30, unique=True), st.integers(1, 3))
def test_auroc_is_scikit_learn_s_without_ties(values: list[float], novels: int) -> None:
    from sklearn.metrics import roc_auc_score

    scores, novel = array(*values), np.arange(len(values)) < novels
    assert auroc(scores, novel) == pytest.approx(roc_auc_score(novel, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "novel", "expected"),
    [
        ((1, 2, 3, 4), "--++", 1.0),
        ((1, 2, 3, 4), "++--", 0.0),
        ((1, 2, 3, 4), "-+-+", 0.75),
        ((1, 3, 2, 3), "--++", 0.625),  # pairs: 2>1, 2<3, 3>1, 3=3
        ((5, 5, 5), "-++", 0.5),
    ],
)
def test_auroc_by_hand(scores: tuple[float, ...], novel: str, expected: float) -> None:
    assert auroc(array(*scores), flags(novel)) == expected


@given(scored())
def test_auroc_sees_only_the_order(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, novel = case
    found = auroc(scores, novel)
    for mapped in (np.exp(scores), 3 * scores - 7, scores**3, np.arctan(scores)):
        assert auroc(mapped, novel) == found
    assert auroc(-scores, novel) == pytest.approx(1 - found)
    assert auroc(scores, ~novel) == pytest.approx(1 - found)


@given(scored(), st.randoms(use_true_random=False))
def test_auroc_does_not_see_the_order_of_the_images(
    case: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    scores, novel = case
    order = list(range(len(scores)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert auroc(scores[order], novel[order]) == auroc(scores, novel)


METRICS = [
    auroc,
    roc_curve,
    youden_threshold,
    lambda scores, novel: rates(scores, novel, 0.0),
    lambda scores, novel: evaluate(scores, novel, Holdout(~novel | novel, ~novel | novel), "paper"),
]


@pytest.mark.parametrize("metric", METRICS)
def test_a_missing_class_is_named(metric: object) -> None:
    with pytest.raises(MetricsError, match="no novel image among the 3"):
        metric(array(1, 2, 3), flags("---"))  # type: ignore[operator]
    with pytest.raises(MetricsError, match="no normal image among the 3"):
        metric(array(1, 2, 3), flags("+++"))  # type: ignore[operator]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error(metric: object, value: float) -> None:
    with pytest.raises(MetricsError, match="2 of 4 scores are not finite"):
        metric(array(1, value, value, 2), flags("-++-"))  # type: ignore[operator]


def test_no_image_at_all_is_an_error() -> None:
    with pytest.raises(MetricsError):
        auroc(array(), flags(""))


def test_the_roc_curve_by_hand() -> None:
    fpr, tpr, thresholds = roc_curve(array(1, 2, 3, 4), flags("-+-+"))
    assert thresholds.tolist() == [math.inf, 4, 3, 2, 1]
    assert fpr.tolist() == [0, 0, 0.5, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 0.5, 1, 1]


def youden(scores: np.ndarray, novel: np.ndarray, threshold: float) -> Fraction:
    flagged = scores >= threshold
    return Fraction(int(flagged[novel].sum()), int(novel.sum())) - Fraction(
        int(flagged[~novel].sum()), int((~novel).sum())
    )


@given(scored())
def test_the_threshold_maximises_tpr_minus_fpr(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, novel = case
    threshold = youden_threshold(scores, novel)
    best = max(youden(scores, novel, candidate) for candidate in scores)
    assert youden(scores, novel, threshold) == best


@pytest.mark.parametrize(
    ("scores", "novel", "expected"),
    [
        ((1, 2, 3, 4), "--++", 2.5),
        ((1, 2, 3, 4), "-+-+", 3.5),  # at 2 it is as good: the highest
        ((1, 2, 3, 4, 5), "--+-+", 2.5),
        ((5, 5, 5), "-++", 5.0),  # not the infinite threshold that flags nothing
        ((1, 2), "+-", 1.0),  # worse than chance at 2, chance at 1; nothing lies below
        ((5, 8, 2, 5, 0, 8), "-+-+-+", 6.5),  # 2/3 - 0 and 1 - 1/3 tie but for rounding
    ],
)
def test_the_threshold_by_hand(scores: tuple[float, ...], novel: str, expected: float) -> None:
    assert youden_threshold(array(*scores), flags(novel)) == expected


def test_no_image_lies_on_the_threshold_s_edge() -> None:
    """Halfway between two scores: rounding in another memory layout changes no verdict."""
    scores, novel = array(1, 2, 3, 4), flags("--++")
    threshold = youden_threshold(scores, novel)
    for rounding in (1 - 1e-7, 1 + 1e-7):
        assert rates(scores * rounding, novel, threshold) == Rates(0.0, 0.0, 1.0)


def test_rates_by_hand() -> None:
    scores, novel = array(1, 2, 3, 4, 2, 3, 4, 5, 6), flags("----+++++")
    # At 3, itself flagged: normal 3 and 4 of four; novel 2 missed of five.
    expected = Rates(fpr=0.5, fnr=0.2, gmean=math.sqrt(0.8 * 0.5))
    found = rates(scores, novel, 3.0)
    assert (found.fpr, found.fnr) == (expected.fpr, expected.fnr)
    assert found.gmean == pytest.approx(expected.gmean)


@pytest.mark.parametrize(("threshold", "fpr", "fnr"), [(-1.0, 1, 0), (9.0, 0, 1)])
def test_rates_of_a_threshold_outside_the_scores(threshold: float, fpr: int, fnr: int) -> None:
    assert rates(array(1, 2, 3, 4), flags("--++"), threshold) == Rates(fpr, fnr, 0.0)


# The validation half is separated between 2 and 3; the test half would choose 7.
SCORES = array(1, 2, 3, 4, 1, 5, 6, 7, 8, 2)
NOVEL = flags("--++---+++")
SPLIT = Holdout(np.arange(10) < 4, np.arange(10) >= 4)


def test_holdout_fits_the_threshold_on_one_half_and_judges_on_the_other() -> None:
    found = evaluate(SCORES, NOVEL, SPLIT, "holdout")
    assert found.threshold == 2.5
    # Test half, flagged at 2.5 or above: normal 5 and 6 of (1, 5, 6); novel 2 missed of (7, 8, 2).
    assert found.fpr == pytest.approx(2 / 3)
    assert found.fnr == pytest.approx(1 / 3)
    assert found.gmean == pytest.approx(math.sqrt(2 / 3 * 1 / 3))


def test_the_paper_s_protocol_fits_and_judges_on_everything() -> None:
    found = evaluate(SCORES, NOVEL, SPLIT, "paper")
    # TPR - FPR: at 8 1/5, at 7 2/5, at 4 3/5 - 2/5, at 3 4/5 - 2/5 (as good as 7, but lower).
    assert found.threshold == 6.5
    assert (found.fpr, found.fnr) == (0.0, pytest.approx(3 / 5))
    assert found.gmean == pytest.approx(math.sqrt(2 / 5))


@pytest.mark.parametrize("protocol", ["paper", "holdout"])
def test_the_three_aurocs_are_the_same_under_both_protocols(protocol: str) -> None:
    found = evaluate(SCORES, NOVEL, SPLIT, protocol)  # type: ignore[arg-type]
    # Whole: novel 3, 4 beat (1, 2, 1), 7 and 8 beat all five, 2 beats two and ties one.
    assert found.auroc == pytest.approx((3 + 3 + 5 + 5 + 2.5) / 25)
    assert found.val_auroc == 1.0
    assert found.test_auroc == pytest.approx((3 + 3 + 1) / 9)
    assert aurocs(SCORES, NOVEL, SPLIT) == {
        "auroc": found.auroc,
        "val_auroc": found.val_auroc,
        "test_auroc": found.test_auroc,
    }


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_under_holdout_the_test_half_does_not_move_the_threshold(test_scores: list[int]) -> None:
    scores = np.concatenate([SCORES[:4], array(*test_scores)])
    assert evaluate(scores, NOVEL, SPLIT, "holdout").threshold == 2.5
