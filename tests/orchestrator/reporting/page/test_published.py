"""What papers report, beside what was measured."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from costs import alone

from kd_models.data import DATASETS
from kd_models.evaluation.metrics import Evaluation
from kd_models.methods.base import Published
from kd_models.methods.registry import method_of, methods
from orchestrator.planning.plan import Plan
from orchestrator.planning.spec import frozen
from orchestrator.planning.sweep_file import method_settings
from orchestrator.reporting.comparison import Compared, compare
from orchestrator.reporting.page.published import Reported, published, published_table
from orchestrator.reporting.results import CandidateResult


@pytest.fixture
def compared(plan_of: Callable[..., Plan]) -> Callable[..., Sequence[Compared]]:
    """A sweep's configurations, each with an AUROC of 0.9."""

    def build(**changes: Any) -> Sequence[Compared]:
        found = Evaluation(0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
        return compare(
            [
                CandidateResult(candidate, "finished", "", found, cost=alone())
                for candidate in plan_of(**changes).candidates
            ]
        )

    return build


def test_every_published_number_is_of_a_dataset_and_a_value_there_is() -> None:
    assert any(method.published for method in methods().values())
    for method in methods().values():
        for dataset, values in method.published.items():
            assert dataset in DATASETS
            row, found = DATASETS[dataset], set()
            fields = method.settings.model_fields
            (default, *_) = method_settings(method.name, ()).variants(row, None, "")
            axis = next(iter(default.axes))
            (setting,) = {axis, f"{axis}s"} & fields.keys()
            for name in values:
                value = frozen(yaml.safe_load(name))
                settings = method.settings.model_validate({setting: (value,)})
                (variant, *_) = settings.variants(row, None, "")
                found.add(str(next(iter(variant.axes.values()))))
                assert method.published_of(dataset, variant.axes) == values[name]
            assert found == values.keys()


def test_a_score_that_is_not_the_papers_has_no_published_number() -> None:
    method = method_of("pkdgan")
    assert method.published_of("mnist", {"structure": "kdgan-1", "score": "paper"}) == Published(
        0.9670
    )
    assert method.published_of("mnist", {"structure": "kdgan-1", "score": "calibrated"}) is None
    assert method.published_of("digits", {"structure": "kdgan-1", "score": "paper"}) is None
    assert method_of("pca").published_of("mnist", {"components": 16}) is None


def test_of_all_classes_the_difference_is_told(compared: Callable[..., Any]) -> None:
    (found,) = published(
        compared(datasets=["mnist"], normal_classes="all", scores=["paper", "calibrated"])
    )
    assert (found.published, found.classes) == (Published(0.9675), 10)
    assert found.difference == pytest.approx(0.9 - 0.9675)
    table = published_table([found])
    assert [cell.text for cell in table.rows[0]] == [
        *("paper", "mnist", "pkdgan", "0.9000", "0.9675", "-0.0675"),
        *("0.4000", "-", "0.5000", "-", "0.6000", "-", "10 of 10", "1"),
    ]


def test_rates_are_beside_ours(compared: Callable[..., Any]) -> None:
    (measured,) = compared(datasets=["mnist"])
    found = Reported(measured, Published(0.9603, gmean=0.9066, fpr=0.0923, fnr=0.0935), 10)
    row = [cell.text for cell in published_table([found]).rows[0]]
    assert row[6:12] == ["0.4000", "0.9066", "0.5000", "0.0923", "0.6000", "0.0935"]


def test_of_some_classes_no_difference_is_told(compared: Callable[..., Any]) -> None:
    (found,) = published(compared(datasets=["mnist"]))
    assert found.difference is None
    assert [cell.text for cell in published_table([found]).rows[0]][-2:] == ["1 of 10", "1"]


def test_where_papers_report_nothing_there_is_nothing(compared: Callable[..., Any]) -> None:
    assert published(compared(baselines=["pca"])) == []
