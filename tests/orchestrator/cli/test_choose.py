"""kd choose: what is chosen and why; registering is asked for, and done once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

SPEC = {
    "name": "choosing",
    "datasets": ["digits"],
    "normal_classes": [0, 1],
    "baselines": ["hog"],
    "scores": ["paper"],
    "structures": ["alone"],
    "seeds": 2,
    "student_widths": [[1, 1, 1], [1, 1, 2]],
    "training": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture(autouse=True)
def swept(kd: Callable[..., Any], tmp_path: Path) -> Any:
    (tmp_path / "sweep.yaml").write_text(json.dumps(SPEC))
    ended = kd("sweep", tmp_path / "sweep.yaml", "--executor", "inline", "--json")
    assert ended.exit_code == 0, ended.stderr
    return ended.answer


def registered(uri: str) -> dict[str, list[str]]:
    client = mlflow.MlflowClient(uri)
    return {
        model.name: [str(v.version) for v in client.search_model_versions(f"name='{model.name}'")]
        for model in client.search_registered_models()
    }


@pytest.mark.slow
def test_choosing_registers_where_asked_and_once(
    kd: Callable[..., Any], swept: Any, tmp_path: Path
) -> None:
    uri = swept["tracking_uri"]
    for arguments in ((), ("--register", "--dry-run")):
        ended = kd("choose", tmp_path / "sweep.yaml", *arguments, "--json")
        assert ended.exit_code == 0, ended.stderr
        assert registered(uri) == {}
    rows = ended.answer["champions"]
    assert [row["model"] for row in rows] == ["choosing.digits.0", "choosing.digits.1"]
    means: dict[tuple[str, str], list[float]] = {}
    for one in swept["candidates"]:
        if one["method"] == "pkdgan":
            widths = "-".join(map(str, one["student_widths"]))
            means.setdefault((one["normal_class"], widths), []).append(one["val_auroc"])
    for row in rows:
        own = means[row["normal_class"], row["student"]]
        assert row["chosen_by"] == pytest.approx(sum(own) / 2)
        assert row["chosen_seeds"] == 2
        assert f"{row['model']}: {row['student']}, {row['reason']}" in ended.stderr
        assert "hog costs no more" in ended.stderr or not row["baselines_as_good"]
    first = kd("choose", "choosing", "--register", "--json").answer["champions"]
    assert [row["version"] for row in first] == ["1", "1"]
    assert {row["model"]: ["1"] for row in first} == registered(uri)
    assert all("exported" in row["changes"] for row in first)
    again = kd("choose", "choosing", "--register", "--json").answer["champions"]
    assert [row["changes"] for row in again] == [[], []]
    ended = kd("choose", "choosing", "--register")
    assert "champions of choosing" in ended.stdout
    assert "choosing.digits.0/1" in ended.stdout


def test_what_cannot_be_chosen_is_said(kd: Callable[..., Any]) -> None:
    ended = kd("choose", "choosing", "--max-params", "1", "--json")
    assert ended.exit_code == 1
    assert ended.answer["champions"] == []
    assert "digits 0: none of 2 configurations is within the limits" in ended.stderr
    for option, value, expected in (
        ("--cheapest-by", "price", "latency or flops or params or bytes"),
        ("--per", "seed", "class or dataset"),
    ):
        ended = kd("choose", "choosing", option, value)
        assert ended.exit_code == 2
        assert f"{option} {value}: expected {expected}" in ended.stderr
    everywhere = kd("choose", "choosing", "--per", "dataset", "--json").answer["champions"]
    assert len({row["student"] for row in everywhere}) == 1
    assert {row["normal_class"] for row in everywhere} == {"0", "1"}
