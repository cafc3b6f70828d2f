"""Whatever a file system allows for a name goes through everything, and comes back as it was."""

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from kd_models.package import Package
from kd_score.names import original
from orchestrator.exporting import Exporter, spec_of
from orchestrator.tracking.client import connect
from orchestrator.tracking.registry import fetch, finished_candidates, register

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

RESERVED = (
    "all", "default", "good", "test", "CON", "nul", "-", "--help", "~", "~root", "$HOME", "%s%n",
    "{x}", "[red]", "[m4]", ":smile:", "null", "true", "01", "1", " ", "a b", "'", '"', ";", "*",
    "?x=1", "#", "\\", r"\xff", "\n", "a\tb", "<script>alert(1)<!--", "螺丝", "螺母", "é", "é",
    "\u202egnp", "a|b", "`", "$x^{$", "🔩", "x" * 200, "a.b", "A", "a", "İ", "ß", "\x7f",
)  # fmt: skip
BYTES = st.binary(min_size=1, max_size=12).map(lambda b: os.fsdecode(b.translate(None, b"/\0")))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=20)
NAMES = (st.sampled_from(RESERVED) | BYTES | TEXT).filter(
    lambda name: name and not name.startswith(".") and len(os.fsencode(name)) < 240
)


def write_tree(root: Path, categories: list[str], image: str) -> None:
    rng = np.random.default_rng(0)
    for category in categories:
        for part in ("train/good", "test/good", "test/dent"):
            (root / category / part).mkdir(parents=True)
            for name in (f"{image}.png", "1.png"):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(root / category / part / name)


@contextmanager
def changed_environment(**values: str) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in values.items():
            patched.setenv(name, value)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


def swept(kd: Callable[..., Any], root: Path, tree: Path) -> Any:
    """The answer of a sweep over every category below ``tree``, each trained for one epoch."""
    file = root / "a.yaml"
    file.write_text(
        json.dumps(  # which YAML reads too, with every character escaped
            {
                "name": "any",
                "datasets": [f"mvtec:{tree}"],
                "baselines": [],
                "scores": ["paper"],
                "structures": ["alone"],
                "student_widths": [[1, 1, 1]],
                "training": {"epochs": 1, "batch_size": 2},
            }
        )
    )
    ended = kd("sweep", file, "--executor", "inline", "--report", root / "report", "--json")
    assert ended.exit_code == 0, ended.stderr
    return ended.answer


def registered(client: Any, runs: list[Any], rows: list[Any]) -> None:
    """Register what was chosen for some classes: each takes seconds."""
    export = Exporter(client, spec_of(client, runs[0].info.experiment_id), lambda line: None)
    for row in rows:
        (run,) = (run for run in runs if run.data.tags["stage_key"] == row["stage_key"])
        register(client, row["model"], run, export)


@pytest.mark.slow
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sets(NAMES, min_size=3, max_size=3), NAMES, NAMES)
def test_any_name_goes_from_the_tree_to_a_score(
    kd: Callable[..., Any], names: set[str], place: str, image: str
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        changed_environment(KD_HOME=f"{folder}/home", TERM="dumb", COLUMNS="200"),
    ):
        root, tree = Path(folder), Path(folder, "data", place)
        write_tree(tree, sorted(names), image)
        answer = swept(kd, root, tree)
        # Distinct categories are distinct candidates, under their own names.
        assert {original(row["normal_class"]) for row in answer["candidates"]} == names
        client = connect(answer["tracking_uri"])
        runs = finished_candidates(client, "any")
        assert {original(run.data.tags["normal_class"]) for run in runs} == names
        rows = json.loads((root / "report/candidates.json").read_bytes())["candidates"]
        assert {original(row["normal_class"]) for row in rows} == names
        assert (root / "report/candidates.txt").read_text().count("\n") == 4 + len(names) + 1

        rows = kd("choose", "any", "--json").answer["champions"]
        assert len({row["model"] for row in rows}) == len(names)
        model, normal_class = rows[0]["model"], rows[0]["normal_class"]
        registered(client, runs, rows[:1])
        package = fetch(client, model, root / "mine")
        assert package.config.normal_class == normal_class
        whole = kd("score", root / "mine", f"mvtec:{tree}", "--json").answer
        category = original(normal_class)
        found = {row["image"]: row["score"] for row in whole["images"]}
        assert found.keys() == {
            f"{category}/test/{part}/{name}.png" for part in ("good", "dent") for name in (image, 1)
        }
        test = tree / category / "test"
        ended = kd("score", root / "mine", test, "--json", "--heatmaps", root / "maps")
        for row in ended.answer["images"]:
            assert Path(row["image"]).is_file()
            assert row["score"] == pytest.approx(
                found[f"{category}/test/{Path(row['image']).relative_to(test)}"], rel=1e-4
            )
        assert len(list((root / "maps").rglob("*.png"))) == len(found)
        lines = kd("score", root / "mine", test).stdout.splitlines()
        assert [original(line.split("\t")[2]) for line in lines[:-1]] == [
            row["image"] for row in ended.answer["images"]
        ]


@pytest.mark.slow
def test_a_student_of_one_category_is_not_that_of_another(
    kd: Callable[..., Any], tmp_path: Path
) -> None:
    """Two names without an ASCII letter were two versions of one model, the second of both."""
    with changed_environment(KD_HOME=str(tmp_path / "home")):
        names = ["螺丝", "螺母", "🔩", "⚙", os.fsdecode(b"\xff"), os.fsdecode(b"\xfe")]
        write_tree(tmp_path / "tree", names, "0")
        client = connect(swept(kd, tmp_path, tmp_path / "tree")["tracking_uri"])
        rows = kd("choose", "any", "--json").answer["champions"]
        assert len({row["model"] for row in rows}) == 6
        registered(client, finished_candidates(client, "any"), rows[:2])
        weights = []
        for number, row in enumerate(rows[:2]):
            fetch(client, row["model"], tmp_path / str(number))
            package = Package.load(tmp_path / str(number))
            assert package.config.normal_class == row["normal_class"]
            weights.append(torch.cat([w.flatten() for w in package.weights.values()]))
        assert not torch.equal(*weights)
