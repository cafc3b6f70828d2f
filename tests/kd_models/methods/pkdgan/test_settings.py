"""What the paper sets by dataset."""

import pytest

from kd_models.methods.pkdgan.settings import paper_widths


@pytest.mark.parametrize(
    ("dataset", "widths"),
    [
        ("digits", (2, 4, 8)),
        ("mnist", (2, 4, 8)),
        ("fmnist", (1, 2, 4)),
        ("cifar10", (8, 16, 64)),
        ("svhn", (8, 16, 64)),
        ("stl10", (8, 16, 64)),
        ("mvtec", (8, 16, 64)),
        ("folder:/fmnist", (8, 16, 64)),
    ],
)
def test_students_are_as_wide_as_the_papers(dataset: str, widths: tuple[int, int, int]) -> None:
    assert paper_widths(dataset) == widths
