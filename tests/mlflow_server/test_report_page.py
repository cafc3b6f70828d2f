"""The report of a sweep, as somebody opens it: at a desk, on a phone, by keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looked_at import Swept, kd
from playwright.sync_api import Browser, Page, expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("mlflow_server"),  # one sweep for all
]

Keep = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def report(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    kd(swept.environment, "report", str(swept.file), "--out", str(folder))
    return folder / "index.html"


def test_it_shows_everything_without_a_network(
    page: Page, report: Path, swept: Swept, keep: Keep
) -> None:
    asked: list[str] = []
    errors: list[Any] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(report.as_uri())
    for heading in ("Comparison", "Pareto front", "AUROC by class", "Training curves", "Settings"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    keep(page, "report-desktop")


def test_it_is_used_by_keyboard(page: Page, report: Path, swept: Swept) -> None:
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the comparison")).to_be_focused()
    candidates = page.locator("#candidates table")
    rows = candidates.locator("tbody tr:visible")
    everything = len(swept.answer["candidates"])
    expect(rows).to_have_count(everything)
    heads = candidates.locator("thead th")
    place = heads.all_inner_texts().index("AUROC")
    header = heads.nth(place)
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    found = [float(row.locator("td, th").nth(place).inner_text()) for row in rows.all()]
    assert found == sorted(found, reverse=True)
    page.locator("#candidates").get_by_label("class").select_option("1")
    expect(rows).to_have_count(everything // 2)


def test_it_is_read_on_a_phone(browser: Browser, report: Path, keep: Keep) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "report-phone")
    page.close()


def test_it_is_read_without_javascript(browser: Browser, report: Path, swept: Swept) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    rows = page.locator("#candidates tbody tr:visible")
    expect(rows).to_have_count(len(swept.answer["candidates"]))
    context.close()
