import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kd_models.evaluation.scoring import Scorer, batch_of, in_batches


class Doubled:
    """What :func:`in_batches` computes here, and the sizes of the batches that it saw."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.sizes.append(len(rows))
        return rows * 2


def test_in_batches_bounds_the_batch_and_keeps_the_order() -> None:
    rows, compute = torch.arange(7.0), Doubled()
    assert in_batches(compute, rows, 3).tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert compute.sizes == [3, 3, 1]


def test_by_default_there_are_256_in_a_batch() -> None:
    compute = Doubled()
    in_batches(compute, torch.zeros(513))
    assert compute.sizes == [256, 256, 1]


@given(st.integers(0, 40), st.integers(1, 50))
def test_in_batches_computes_every_row_once(count: int, size: int) -> None:
    rows, compute = torch.arange(3.0 * count).view(count, 3), Doubled()
    assert torch.equal(in_batches(compute, rows, size), rows * 2)
    assert sum(compute.sizes) == count
    assert max(compute.sizes) <= size


def test_what_is_computed_may_have_another_shape_and_type() -> None:
    rows = torch.arange(10.0).view(5, 2)
    found = in_batches(lambda x: (x.sum(1) > 8).view(-1, 1, 1), rows, 2)
    assert found.shape == (5, 1, 1)
    assert found.flatten().tolist() == [False, False, True, True, True]


def test_no_gradient_is_kept() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    for size in (2, 5):
        assert not in_batches(lambda rows: rows * scale, torch.ones(5), size).requires_grad


def test_of_no_rows_the_result_still_has_the_shape_and_type() -> None:
    found = in_batches(lambda x: x.flatten(1).half(), torch.zeros(0, 3, 4), 2)
    assert found.shape == (0, 12)
    assert found.dtype == torch.float16


@pytest.mark.parametrize(
    ("side", "expected"), [(32, 256), (64, 64), (96, 28), (128, 16), (512, 1), (513, 1), (2000, 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_images_has_a_bounded_number_of_pixels(
    side: int, expected: int, channels: int
) -> None:
    # Expanded, so that no memory is taken for them.
    images = torch.zeros(1).expand(3, channels, side, side)
    assert batch_of(images) == expected


def test_how_many_images_there_are_does_not_matter_to_a_batch() -> None:
    assert batch_of(torch.zeros(0, 3, 32, 32)) == batch_of(torch.zeros(2, 3, 32, 32)) == 256


def test_a_scorer_loads_its_student_and_its_teacher_alone() -> None:
    first, second, third = (nn.Linear(2, 1) for _ in range(3))
    scorer = Scorer(nn.Linear(2, 1), nn.Linear(2, 1))
    scorer.load(first.state_dict(), second.state_dict())
    assert torch.equal(scorer.student.weight, first.weight)
    assert torch.equal(scorer.teacher.weight, second.weight)
    alone = Scorer(nn.Linear(2, 1))
    alone.load(third.state_dict(), second.state_dict())
    assert torch.equal(alone.student.weight, third.weight)
    assert alone.teacher is None


def test_a_teacher_that_is_not_given_is_missed() -> None:
    scorer = Scorer(nn.Linear(2, 1), nn.Linear(2, 1))
    with pytest.raises(RuntimeError, match="Missing key"):
        scorer.load(nn.Linear(2, 1).state_dict())


def test_a_scorer_has_no_maps_of_its_own() -> None:
    assert Scorer(nn.Identity()).maps(torch.zeros(1, 3, 32, 32)) == {}
