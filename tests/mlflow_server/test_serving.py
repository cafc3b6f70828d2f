"""A champion answers requests from ``mlflow models serve``, unchanged."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looked_at import Swept
from PIL import Image

from infra.local.services import answers, free_port
from kd_models.data import LoadOptions, load, to_model_input
from orchestrator.tracking.client import connect
from orchestrator.tracking.registry import fetch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("mlflow_server"),  # one sweep for all
]


@pytest.fixture(scope="module")
def served(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serving")
    uri = f"http://127.0.0.1:{free_port()}"
    model = f"models:/{swept.champions[0]['model']}@champion"
    binaries = Path(sys.executable).parent  # it calls uvicorn by name
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model),
                *("--env-manager", "local", "--host", "127.0.0.1"),
                *("--port", uri.rpartition(":")[2], "--workers", "1"),
            ],
            env={**swept.environment, "PATH": f"{binaries}:{os.environ['PATH']}"},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"{uri}/ping"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def asked(uri: str, request: dict[str, Any]) -> Any:
    content = json.dumps(request).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{uri}/invocations", content, headers)
    ) as answer:
        return json.load(answer)["predictions"]


def test_a_request_is_answered_as_the_package_scores(
    swept: Swept, served: str, tmp_path: Path
) -> None:
    package = fetch(connect(swept.uri), swept.champions[0]["model"], tmp_path / "detector")
    pixels = load("digits", tmp_path, LoadOptions()).test.images[:3]
    scores = package.score(to_model_input(pixels, image_size=32, channels=1)).tolist()
    encoded = []
    for number, image in enumerate(pixels[:, 0].numpy()):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        encoded.append(base64.b64encode((tmp_path / f"{number}.png").read_bytes()).decode())
    for request in (
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in encoded]}},
        {"dataframe_records": [{"image": text} for text in encoded]},
        {"inputs": np.asarray(pixels[:, 0]).tolist()},
    ):
        rows = asked(served, request)
        assert [row["score"] for row in rows] == pytest.approx(scores, rel=1e-4)
        for row in rows:
            is_novel = row["score"] >= package.config.threshold
            assert row["verdict"] == ("novel" if is_novel else "normal")


def test_a_request_of_another_kind_is_refused_in_words(served: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        asked(served, {"dataframe_records": [{"picture": "x"}]})
    assert "expected a column image" in caught.value.read().decode()
