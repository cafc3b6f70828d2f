import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kd_models.evaluation.protocol import holdout_split

labels = st.lists(st.integers(-1, 5), max_size=60).map(lambda x: np.array(x, dtype=np.int64))


@given(labels)
def test_the_halves_are_disjoint_and_cover_all(labels: np.ndarray) -> None:
    split = holdout_split(labels)
    assert split.validation.shape == split.test.shape == labels.shape
    assert split.validation.dtype == split.test.dtype == np.bool_
    assert (split.validation ^ split.test).all()


@given(labels)
def test_every_class_is_halved(labels: np.ndarray) -> None:
    split = holdout_split(labels)
    for label in np.unique(labels):
        own = labels == label
        sizes = int((own & split.validation).sum()), int((own & split.test).sum())
        assert abs(sizes[0] - sizes[1]) <= 1
        if own.sum() >= 2:
            assert min(sizes) >= 1


@given(labels)
def test_odd_ones_out_do_not_all_land_on_one_side(labels: np.ndarray) -> None:
    split = holdout_split(labels)
    assert abs(int(split.validation.sum()) - int(split.test.sum())) <= 1


@given(labels)
def test_the_same_labels_give_the_same_halves(labels: np.ndarray) -> None:
    first = holdout_split(labels)
    np.random.default_rng().random(3)
    assert np.array_equal(first.validation, holdout_split(labels.copy()).validation)


def test_the_halves_do_not_follow_the_order_of_the_images() -> None:
    validation = holdout_split(np.zeros(200, dtype=np.int64)).validation
    # Neither every other image nor one block: a stored split is often sorted by something.
    runs = 1 + int((validation[1:] != validation[:-1]).sum())
    assert 70 < runs < 130
    assert 35 < int(validation[:100].sum()) < 65


def test_the_labels_need_not_be_counted_from_zero() -> None:
    labels = np.array([7, 7, -1, -1], dtype=np.int64)
    validation = holdout_split(labels).validation
    assert sorted(labels[validation]) == [-1, 7]
