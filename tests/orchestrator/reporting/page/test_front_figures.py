"""What quality costs, drawn so that those that matter can be told apart."""

import pytest

from orchestrator.reporting.page.front_figures import foot_of


@pytest.mark.parametrize(
    ("merits", "foot"),
    [
        ([0.95], 0.95),
        ([0.9, 0.95], 0.9),
        ([0.95, 0.94, 0.93], 0.93),
        ([0.95, 0.94, 0.2], 0.91),
        ([0.95, 0.94, 0.93, 0.92, 0.1], 0.87),
        ([0.9, 0.9, 0.1], 0.9),
        ([0.2, 0.2, 0.9], 0.2),
    ],
)
def test_one_that_learned_nothing_squeezes_nobody(merits: list[float], foot: float) -> None:
    assert foot_of(merits) == pytest.approx(foot)
