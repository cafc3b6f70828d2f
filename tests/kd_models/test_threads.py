"""Work in threads."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd_models import threads
from kd_models.threads import cores, in_threads


@given(st.lists(st.integers()), st.integers(0, 5))
def test_results_come_in_the_order_of_the_items(items: list[int], most: int) -> None:
    assert list(in_threads(lambda item: item * 2, items, most)) == [item * 2 for item in items]


def test_it_is_done_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)
    assert sorted(in_threads(lambda item: both.wait(), range(2), 2)) == [0, 1]


@pytest.mark.parametrize("most", [1, 2])
def test_an_error_ends_it(most: int) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        time.sleep(0.001)
        done.append(item)
        return item

    came: list[int] = []
    with pytest.raises(ValueError, match="three"):
        came.extend(in_threads(work, range(10_000), most))
    assert len(done) < 5000


@pytest.mark.parametrize(
    ("every", "told_of"),
    [(-1.0, ["images read: 1 of 1,000", "images read: 2 of 1,000"]), (9e9, [])],
)
def test_progress_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, every: float, told_of: list[str]
) -> None:
    monkeypatch.setattr(threads, "_TOLD_EVERY", every)
    lines: list[str] = []
    assert list(threads.told(range(2), 1000, "images read", lines.append)) == [0, 1]
    assert lines == told_of


def test_there_is_a_core() -> None:
    assert cores() >= 1
