"""MLflow's page of a sweep, as somebody sees it who opens the link that the sweep printed."""

import json
import re
import urllib.request
from collections.abc import Callable

import pytest
from looked_at import Swept
from playwright.sync_api import Page, expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("mlflow_server"),  # one sweep for all
]

Keep = Callable[[Page, str], None]


def names(page: Page) -> list[str]:
    """The names of the runs in the table, from top to bottom."""
    rows = page.get_by_role("row").filter(has=page.get_by_role("link"))
    return [row.get_by_role("link").first.inner_text() for row in rows.all()]


def opened(page: Page, swept: Swept) -> None:
    page.goto(swept.answer["view"])
    expect(page.get_by_text(f"{len(swept.students)} matching runs")).to_be_visible()
    if (assistant := page.get_by_label("Close").last).is_visible():
        assistant.click()  # MLflow's own, which takes a quarter of the page


def test_the_link_opens_students_alone_the_best_first(page: Page, swept: Swept, keep: Keep) -> None:
    assert swept.answer["view"].startswith(swept.uri)
    opened(page, swept)
    expect(page.get_by_text("You're viewing a shared view")).to_be_visible()
    expect(page.get_by_text("compare val_auroc_mean, above_alone and flops")).to_be_visible()
    for column in ("val_auroc_mean", "above_alone", "flops"):
        expect(page.get_by_role("columnheader", name=column, exact=True).first).to_be_attached()
    found = names(page)
    assert len(found) == len(swept.students) == 8
    assert all(re.match(r"digits-[01]-(alone|kdgan-1)-seed[01]$", name) for name in found)
    means = {}
    for row in swept.students:
        key = (row["normal_class"], row["structure"])
        means.setdefault(key, []).append(row["val_auroc"])
    order = [
        sum(own) / len(own)
        for name in found
        for own in [means[tuple(name.removeprefix("digits-").rsplit("-", 1)[0].split("-", 1))]]
    ]
    assert order == sorted(order, reverse=True)
    keep(page, "mlflow-students")


def test_students_of_a_class_can_be_compared(page: Page, swept: Swept, keep: Keep) -> None:
    opened(page, swept)
    search = page.get_by_placeholder("metrics.rmse")
    search.fill("tags.kind = 'student' AND tags.normal_class = '1'")
    search.press("Enter")
    expect(page.get_by_text("4 matching runs")).to_be_visible()
    assert all(name.startswith("digits-1-") for name in names(page))
    keep(page, "mlflow-one-class")
    for number in (1, 2):
        page.get_by_role("checkbox").nth(number).check(force=True)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("Comparing 2 Runs")).to_be_visible()
    expect(page.get_by_text("Parallel Coordinates Plot").first).to_be_visible()
    keep(page, "mlflow-compared")


def test_charts_show_quality_against_cost_and_training_curves(
    page: Page, swept: Swept, keep: Keep
) -> None:
    page.goto(f"{swept.answer['view']}&compareRunsMode=CHART")
    expect(page.get_by_text("Quality against cost")).to_be_visible()
    expect(page.get_by_text("Training curves")).to_be_visible()
    expect(page.locator(".js-plotly-plot").nth(2)).to_be_visible()
    for axis in ("flops", "latency_us"):
        expect(page.locator(".xtitle", has_text=axis).first).to_be_visible()
    keep(page, "mlflow-charts")


def test_a_champion_says_why_it_was_chosen(page: Page, swept: Swept, keep: Keep) -> None:
    champion = swept.champions[0]
    page.goto(f"{swept.uri}/#/models/{champion['model']}/versions/1")
    expect(page.get_by_text("champion").first).to_be_visible()
    expect(page.get_by_text("Chosen because it is").first).to_be_attached()
    keep(page, "mlflow-champion")
    with urllib.request.urlopen(
        f"{swept.uri}/api/2.0/mlflow/model-versions/get?name={champion['model']}&version=1"
    ) as answer:
        version = json.load(answer)["model_version"]
    assert champion["reason"] in version["description"]
