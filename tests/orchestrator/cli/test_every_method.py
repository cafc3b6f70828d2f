"""All methods in one sweep: one table, one page, one experiment; any of them can be chosen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from kd_models.methods.registry import methods
from kd_score.detector import Detector
from kd_score.read_image import read_raw
from orchestrator.exporting import Exporter, spec_of
from orchestrator.tracking.client import connect
from orchestrator.tracking.registry import fetch, finished_candidates, register

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SMALL: dict[str, Any] = {
    "widths": [[1, 2, 4]],
    "student_widths": [[1, 2, 4]],
    "structures": ["alone"],
    "training": {"epochs": 5, "batch_size": 8},
}
"""settings of any method that has them"""


def small(name: str) -> dict[str, Any]:
    method = methods()[name]
    settings = {k: v for k, v in SMALL.items() if k in method.settings.model_fields}
    if method.read_pretrained:
        settings = {"teacher": {"weights": "random"}, "training": SMALL["training"]}
    return {"method": name, **settings}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_of_one_sweep_of_all_any_can_be_chosen_and_scores_without_pytorch(
    kd: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_HOME", str(tmp_path / "home"))
    spec = {
        **{"name": "every", "datasets": ["digits"], "normal_classes": [0]},
        "methods": [small(name) for name, method in methods().items() if not method.is_baseline],
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / "images").mkdir()
    for number, image in enumerate(load_digits().images[-8:]):
        pixels = (image * 15.9).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    ended = kd(
        *("sweep", tmp_path / "a.yaml", "--executor", "inline"),
        *("--report", tmp_path / "report", "--json"),
    )
    assert ended.exit_code == 0, ended.stderr
    rows = ended.answer["candidates"]
    assert {row["method"] for row in rows} == methods().keys()
    page = (tmp_path / "report" / "index.html").read_text()
    assert [name for name in methods() if f">{name}" not in page] == []

    cheapest, *_ = kd("choose", "every", "--baselines", "--max-params", 9000, "--json").answer[
        "champions"
    ]
    assert cheapest["params"] <= 9000
    client = connect(ended.answer["tracking_uri"])
    runs = finished_candidates(client, "every")
    export = Exporter(client, spec_of(client, runs[0].info.experiment_id), lambda line: None)
    by_key = {run.data.tags["stage_key"]: run for run in runs}
    for row in {row["method"]: row for row in rows}.values():
        model = f"every.{row['method']}"
        register(client, model, by_key[row["stage_key"]], export)
        folder = tmp_path / row["method"]
        fetch(client, model, folder)
        assert kd("score", folder, "digits", "--json").answer["auroc"] == pytest.approx(
            row["auroc"], abs=1e-4
        )
        scored = kd("score", folder, tmp_path / "images", "--json").answer["images"]
        expected = {one["image"]: one["score"] for one in scored}
        detector = Detector(folder)
        found = {image: detector.score(read_raw(image)) for image in expected}
        most = max(map(abs, expected.values()))
        assert found == pytest.approx(expected, abs=1e-4 * most), row["method"]
