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
from mlflow import MlflowClient
from PIL import Image

from kd_models.names import original
from kd_models.package import Package
from kd_models.training.world import World
from orchestrator.planning.plan import Pack, Plan, make_plan
from orchestrator.planning.prepare import facts_of, load_datasets
from orchestrator.planning.sweep_file import read_spec
from orchestrator.reporting.report import write_report
from orchestrator.reporting.results import candidate_result, collect
from orchestrator.running.context import RunContext
from orchestrator.running.pack import run_pack
from orchestrator.store.folder import FolderStore
from orchestrator.tracking.client import connect
from orchestrator.tracking.registry import Limits, choose, fetch, finished_candidates, register
from orchestrator.tracking.runs import Tracker

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

RESERVED = (
    "all", "default", "good", "test", "CON", "nul", "-", "--help", "~", "~root", "$HOME", "%s%n",
    "{x}", "[/old]", "[m4]", ":smile:", "null", "true", "01", "1", " ", "a b", "'", '"', ";", "*",
    "?x=1", "#", "\\", r"\xff", "\n", "a\tb", "<script>alert(1)</script>", "螺丝", "螺母", "é", "é",
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


class NoCheckpoints:
    """A session that keeps nothing."""

    @contextmanager
    def checkpoint(self) -> Any:
        yield None

    def save(self, write: object) -> None: ...
    def report(self, stage: object, rows: object) -> None: ...
    def say(self, line: str) -> None: ...


def trained(root: Path, tree: Path) -> tuple[Plan, FolderStore]:
    """A plan of every category below ``tree``, by a sweep file, trained for one epoch."""
    file = root / "a.yaml"
    file.write_text(
        json.dumps(  # which YAML reads too, with every character escaped
            {
                "name": "any",
                "datasets": [f"mvtec:{tree}"],
                "structures": ["alone"],
                "student_widths": [[1, 1, 1]],
                "training": {"epochs": 1, "batch_size": 2},
            }
        )
    )
    spec = read_spec(file)
    images = load_datasets(spec, lambda line: None)
    plan = make_plan(spec, facts_of(images))
    store = FolderStore(spec.storage.store_path)
    context = RunContext(
        store, {loaded.name: loaded for loaded in images.values()}.__getitem__, lanes=64
    )
    for pack in plan.packs():
        assert run_pack(Pack.of(pack.stages), context, World(), NoCheckpoints()) == {}
    return plan, store


def logged(plan: Plan, store: FolderStore) -> MlflowClient:
    tracker = Tracker(plan, store, plan.spec.storage)
    tracker.start_sweep()
    for key, stage in plan.stages.items():
        tracker.finish_stage(stage, candidate_result(plan, plan.candidate_of[key], store))
    tracker.finish_sweep(collect(plan, store, {}, {}))
    return connect(plan.spec.storage.mlflow_uri)


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sets(NAMES, min_size=3, max_size=3), NAMES, NAMES)
def test_any_name_goes_from_the_tree_to_a_score(
    job: Callable[..., Any], names: set[str], place: str, image: str
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        changed_environment(KD_HOME=f"{folder}/home", TERM="dumb", COLUMNS="200"),
    ):
        root, tree = Path(folder), Path(folder, "data", place)
        write_tree(tree, sorted(names), image)
        plan, store = trained(root, tree)
        # Distinct categories are distinct candidates, under their own names.
        assert {original(candidate.normal_class) for candidate in plan.candidates} == names
        client = logged(plan, store)
        runs = finished_candidates(client, "any")
        assert {original(run.data.tags["normal_class"]) for run in runs} == names
        write_report(collect(plan, store, {}, {}), "holdout", root / "report")
        rows = json.loads((root / "report/candidates.json").read_bytes())["candidates"]
        assert {original(row["normal_class"]) for row in rows} == names
        assert (root / "report/candidates.txt").read_text().count("\n") == 4 + len(names) + 1

        choices = choose(runs, Limits())
        models = {choice.registered_name("any"): choice for choice in choices}
        assert len(models) == len(names)
        model, choice = sorted(models.items())[0]
        register(client, "any", choice)
        package = fetch(client, model, root / "mine")
        assert package.config.normal_class == choice.normal_class
        whole = job("score", root / "mine", f"mvtec:{tree}", "--json").answer
        category = original(choice.normal_class)
        found = {row["image"]: row["score"] for row in whole["images"]}
        assert found.keys() == {
            f"{category}/test/{part}/{name}.png" for part in ("good", "dent") for name in (image, 1)
        }
        test = tree / category / "test"
        ended = job("score", root / "mine", test, "--json", "--heatmaps", root / "maps")
        for row in ended.answer["images"]:
            assert Path(row["image"]).is_file()
            assert row["score"] == pytest.approx(
                found[f"{category}/test/{Path(row['image']).relative_to(test)}"], rel=1e-4
            )
        assert len(list((root / "maps").rglob("*.png"))) == len(found)
        lines = job("score", root / "mine", test).stdout.splitlines()
        assert [original(line.split("\t")[2]) for line in lines[:-1]] == [
            row["image"] for row in ended.answer["images"]
        ]


def test_a_student_of_one_category_is_not_that_of_another(tmp_path: Path) -> None:
    """Two names without an ASCII letter were two versions of one model, the second of both."""
    with changed_environment(KD_HOME=str(tmp_path / "home")):
        names = ["螺丝", "螺母", "🔩", "⚙", os.fsdecode(b"\xff"), os.fsdecode(b"\xfe")]
        write_tree(tmp_path / "tree", names, "0")
        plan, store = trained(tmp_path, tmp_path / "tree")
        client = logged(plan, store)
        choices = choose(finished_candidates(client, "any"), Limits())
        for choice in choices[:2]:
            register(client, "any", choice)
        assert len({choice.registered_name("any") for choice in choices}) == 6
        weights = []
        for number, choice in enumerate(choices[:2]):
            fetch(client, choice.registered_name("any"), tmp_path / str(number))
            package = Package.load(tmp_path / str(number))
            assert package.config.normal_class == choice.normal_class
            weights.append(torch.cat([w.flatten() for w in package.weights.values()]))
        assert not torch.equal(*weights)
