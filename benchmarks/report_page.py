"""(j) Seconds in which Chromium opens the page of a sweep with 1,000 candidates.

The sweep is a real one, of students trained for one epoch. From asking for the page until it is
drawn, in a new window each time; the goal is 2 s.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.harness import Timing, emit, run_sweep

SPEC = {
    "name": "thousand",
    "datasets": ["digits"],
    "normal_classes": "all",
    "structures": ["alone", "kdgan-1"],
    "scores": ["paper"],
    "seeds": 50,
    "teacher": {"seed": 0, "widths": [1, 2, 4], "training": {"epochs": 1}},
    "training": {"epochs": 1},
}
ROUNDS = 5
DRAWN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


def opened(browser: Browser, page: Path) -> float:
    """Return the seconds until a page is drawn."""
    window = browser.new_page(viewport={"width": 1600, "height": 1200})
    began = time.perf_counter()
    window.goto(page.as_uri())
    window.evaluate(DRAWN)
    taken = time.perf_counter() - began
    window.close()
    return taken


def main() -> None:
    """Run the sweep, and open its page some times."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("report_page: needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        swept, answer = run_sweep(SPEC, "--executor", "inline", "--report", folder)
        page = Path(folder) / "index.html"
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-dev-shm-usage"]  # as root, in a container
            browser = playwright.chromium.launch(executable_path=program, args=options)
            taken = [opened(browser, page) for _ in range(ROUNDS)]
            browser.close()
        median = statistics.median(taken)
        spread = (max(taken) - min(taken)) / median
        emit(
            "report page",
            "s",
            {"opened": Timing(median, spread, 0)},
            candidates=len(answer["candidates"]),
            bytes=page.stat().st_size,
            sweep_s=round(swept, 1),
        )


if __name__ == "__main__":
    main()
