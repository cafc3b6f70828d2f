"""A real MLflow server with a real sweep in it, and a real browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from looked_at import Swept, kd
from playwright.sync_api import Browser, Page, expect, sync_playwright

from infra.local.mlflow_server import start_mlflow_server
from infra.local.services import free_port

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "test-artifacts"
"""kept after the tests, to be looked at"""
PATIENCE = 60_000
"""milliseconds that a page may take, on a machine that is busy with other tests"""
DESKTOP, PHONE = {"width": 1600, "height": 1200}, {"width": 390, "height": 844}

SPEC: dict[str, Any] = {
    "name": "looked-at",
    "datasets": ["digits"],
    "normal_classes": [0, 1],
    "structures": ["alone", "kdgan-1"],
    "baselines": ["pca"],
    "scores": ["paper"],
    "seeds": 2,
    "student_widths": [[1, 1, 2]],
    "teacher": {"widths": [1, 2, 4], "training": {"epochs": 2}},
    "training": {"epochs": 3, "batch_size": 16},
}


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    folder = tmp_path_factory.mktemp("looked-at")
    server = start_mlflow_server(
        folder, free_port(), f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), {}
    )
    try:
        file = folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(SPEC))
        environment = {
            **os.environ,
            "KD_HOME": str(folder / "home"),
            "MLFLOW_TRACKING_URI": server.uri,
            "OMP_NUM_THREADS": "1",
        }
        answer = kd(environment, "sweep", str(file), "--executor", "inline")
        champions = kd(environment, "choose", str(file), "--register")["champions"]
        yield Swept(server.uri, file, answer, champions, environment)
    finally:
        server.service.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        # Root may not sandbox it, and a container has little shared memory.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        running = playwright.chromium.launch(executable_path=program, args=options)
        expect.set_options(timeout=PATIENCE)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport=DESKTOP)  # type: ignore[arg-type]
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture
def keep() -> Callable[[Page, str], None]:
    """Keeps a screenshot by name."""

    def shot(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return shot
