"""A sweep of ECA_MKDAD in MLflow: runs, figures, packages with their teacher, the registry."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
import torch
from contexts import context_in
from pages import Page
from safetensors.torch import load_file, save_file

from kd_models.data import ImageSet, one_class
from kd_models.evaluation.cost import complexity
from kd_models.methods.base import PretrainedWeights
from kd_models.methods.eca_mkdad.scores import StudentConfig
from kd_models.methods.vgg16 import Teacher
from kd_models.package import Package
from kd_models.world import World
from kd_score.detector import run, session
from kd_score.errors import PackageError
from orchestrator.choosing import Limits, choose
from orchestrator.exporting import Exporter
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import Plan
from orchestrator.planning.storage import StorageSpec
from orchestrator.reporting.results import candidate_result, stage_result
from orchestrator.running.pack import run_pack
from orchestrator.store import open_store
from orchestrator.store.record import read_history, read_scores, read_shown
from orchestrator.store.stages import Store
from orchestrator.tracking.client import connect, teacher_artifact
from orchestrator.tracking.registry import (
    fetch,
    finished_candidates,
    register,
    registered_name,
)
from orchestrator.tracking.runs import Tracker

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]

DEPLOYED = {"eca": (15_061_544, 346_856), "mkdad": (15_061_520, 346_832)}
"""parameters of student and teacher together, and of the student alone"""


@pytest.fixture(autouse=True)
def away_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def eca(
    eca_trained: Any,
    storage: StorageSpec,
    teacher: PretrainedWeights,
    finish_all: Callable[[Tracker, Plan, Store], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """``eca_trained`` in MLflow, as a sweep does it that was started twice. Read only."""
    plan, store = eca_trained.plan, eca_trained.store
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("cwd"))
        kept = []
        for _ in range(2):
            tracker = Tracker(plan, store, storage)
            tracker.start_sweep(teacher)
            finish_all(tracker, plan, store)
            (file,) = Path(storage.root).rglob(f"{teacher.sha256}.safetensors")
            kept.append(file.stat().st_mtime_ns)
        tracker.finish_sweep([candidate_result(plan, c, store) for c in plan.candidates])
        assert list(Path.cwd().iterdir()) == []
    client = connect(storage.mlflow_uri)
    found = client.search_runs([tracker.experiment_id])
    runs = {run.data.tags.get("placement", ""): run for run in found}
    assert len(found) == len(runs) == 3
    return SimpleNamespace(plan=plan, store=store, client=client, runs=runs, kept=kept)


@pytest.fixture(scope="module")
def registered(eca: Any) -> Any:
    """The student with attention as version 1 and champion."""
    run = eca.runs["eca"]
    name = registered_name("tiny-eca", run.data.tags["dataset"], "cloth")
    export = Exporter(eca.client, eca.plan.spec, lambda line: None)
    found = register(eca.client, name, run, export)
    yield SimpleNamespace(name=name, version=found.version, export=export)
    eca.client.delete_registered_model(name)


@pytest.fixture(scope="module")
def folder(registered: Any, eca: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registered student's package as fetched. Read only."""
    place: Path = tmp_path_factory.mktemp("fetched") / "student"
    fetch(eca.client, registered.name, place)
    return place


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A package of the test's own, its weights being links."""
    place = tmp_path / "student"
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).symlink_to(path)
    return place


@pytest.fixture(scope="module")
def tested_images(cloth: ImageSet) -> torch.Tensor:
    return one_class(cloth, "cloth", image_size=32, channels=3).test


def files(client: Any, run_id: str, path: str | None = None) -> set[str]:
    return {artifact.path for artifact in client.list_artifacts(run_id, path)}


def stored_scores(eca: Any, placement: str = "eca") -> torch.Tensor:
    key = eca.runs[placement].data.tags["stage_key"]
    return torch.from_numpy(read_scores(eca.store, eca.plan.stages[key]).scores)


# Runs


@pytest.mark.parametrize("placement", DEPLOYED)
def test_cost_is_of_student_and_teacher_and_of_the_student_alone(eca: Any, placement: str) -> None:
    metrics = eca.runs[placement].data.metrics
    assert (metrics["params"], metrics["student_params"]) == DEPLOYED[placement]
    example = torch.zeros(1, 3, 32, 32)
    student = complexity(StudentConfig(placement=placement).network(), example)
    assert metrics["student_flops"] == student.flops
    assert metrics["flops"] == student.flops + complexity(Teacher(), example).flops
    if placement == "eca":
        assert metrics["flops"] == 327_619_840
    assert metrics["latency_us"] > metrics["student_latency_us"] > 0


def test_final_metrics_are_those_of_the_history(eca: Any) -> None:
    for placement in DEPLOYED:
        run = eca.runs[placement]
        last = read_history(eca.store, eca.plan.stages[run.data.tags["stage_key"]])[-1]
        assert {name: run.data.metrics[name] for name in last} == last
        assert last.keys() >= {"auroc", "pixel_auroc", "pro", "loss/0"}
        assert "teacher_auroc" not in run.data.metrics


def test_a_run_can_be_found_by_its_axes(eca: Any) -> None:
    for placement in DEPLOYED:
        tags = eca.runs[placement].data.tags
        expected = {
            "role": "candidate",
            "method": "eca_mkdad",
            "placement": placement,
            "student_width": "lightweight",
            "lambda": "0.1",
            "student": f"{placement} lightweight 0.1 paper",
            "step": placement,
            "normal_class": "cloth",
            "parent_keys": "",
            "complete": "holdout",
            "mlflow.parentRunId": eca.runs[""].info.run_id,
        }
        assert tags.items() >= expected.items()


def test_settings_are_parameters(eca: Any, teacher: PretrainedWeights) -> None:
    expected = {
        "method": "eca_mkdad",
        "image_size": "32",
        "step.student.placement": "eca",
        "step.student.width": "lightweight",
        "step.lambda_": "0.1",
        "step.training_layers": "2-3-4-5",
        "step.scoring_layers": "3-4-5",
        "step.teacher": teacher.sha256,
        "step.precision": "float32",
        "recipe.lr": "0.01",
    }
    assert eca.runs["eca"].data.params.items() >= expected.items()


@pytest.mark.parametrize("figure", ["roc.png", "scores.png", "heatmaps.png", "layers.png"])
def test_every_student_has_its_figures(eca: Any, figure: str) -> None:
    for placement in DEPLOYED:
        path = eca.client.download_artifacts(eca.runs[placement].info.run_id, figure)
        content = Path(path).read_bytes()
        assert content.startswith(b"\x89PNG\r\n")
        assert len(content) > 5000


# The sweep's own run


def test_the_sweeps_run_holds_the_teacher_once(eca: Any, teacher: PretrainedWeights) -> None:
    run_id = eca.runs[""].info.run_id
    name = teacher_artifact(teacher.sha256)
    assert name == f"teachers/{teacher.sha256}.safetensors"
    assert files(eca.client, run_id, "teachers") == {name}
    assert eca.kept[0] == eca.kept[1]  # starting again wrote nothing
    held = PretrainedWeights(load_file(eca.client.download_artifacts(run_id, name)))
    assert held.sha256 == teacher.sha256


def test_the_sweeps_run_holds_the_report(eca: Any) -> None:
    run_id = eca.runs[""].info.run_id
    names = {"candidates.txt", "candidates.json", "comparison.txt", "comparison.png", "sweep.yaml"}
    assert files(eca.client, run_id) == {*names, "teachers", "report"}
    page = Page.read(Path(eca.client.download_artifacts(run_id, "report/index.html")))
    assert page.column("standings", "configuration") == ["eca", "mkdad"]
    assert "report/figures/roc-1.svg" in files(eca.client, run_id, "report/figures")
    content = {name: Path(eca.client.download_artifacts(run_id, name)) for name in names}
    assert content["comparison.png"].read_bytes().startswith(b"\x89PNG\r\n")
    compared = content["comparison.txt"].read_text()
    assert "eca" in compared
    assert "mkdad" in compared
    rows = json.loads(content["candidates.json"].read_text())["candidates"]
    for row in rows:
        metrics = eca.runs[row["placement"]].data.metrics
        for name in ("auroc", "pixel_auroc", "pro", "params", "student_params"):
            assert row[name] == metrics[name], name


# Packages


def test_a_runs_package_has_no_teacher_in_it(eca: Any) -> None:
    run_id = eca.runs["eca"].info.run_id
    assert "package/teacher.safetensors" not in files(eca.client, run_id, "package")
    alone = Path(eca.client.download_artifacts(run_id, "package"))
    with pytest.raises(PackageError, match=r"is not whole: teacher\.safetensors is missing"):
        Package.load(alone)


def test_fetching_adds_the_teacher(folder: Path, teacher: PretrainedWeights) -> None:
    assert {path.name for path in folder.iterdir()} >= {
        "README.md",
        "config.json",
        "model.onnx",
        "model.safetensors",
        "teacher.safetensors",
    }
    package = Package.load(folder)
    assert package.teacher is not None
    assert PretrainedWeights(package.teacher).sha256 == teacher.sha256
    assert package.config.axes == {
        "placement": "eca",
        "student_width": "lightweight",
        "lambda": 0.1,
        "score": "paper",
    }
    cost = package.config.measured.cost
    assert (cost.deployed.params, cost.student.params) == DEPLOYED["eca"]
    card = (folder / "README.md").read_text()
    assert "deployed, teacher and student | 15,061,544 | 327,619,840" in card
    assert "student alone | 346,856" in card


def test_a_fetched_student_scores_as_stored(
    eca: Any, folder: Path, tested_images: torch.Tensor, tmp_path: Path
) -> None:
    package, stored = Package.load(folder), stored_scores(eca)
    torch.testing.assert_close(package.score(tested_images).double(), stored, rtol=1e-5, atol=0)
    alone = torch.cat([package.score(image[None]) for image in tested_images])
    torch.testing.assert_close(alone.double(), stored, rtol=1e-5, atol=0)
    package.save(tmp_path / "again")
    again = Package.load(tmp_path / "again").score(tested_images)
    assert torch.equal(again, package.score(tested_images))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "teacher.safetensors"])
def test_a_package_that_lacks_a_file_names_it(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(PackageError) as caught:
        Package.load(copied)
    assert str(caught.value).startswith(f"{copied} is ")
    assert f"{name} is missing" in str(caught.value)
    assert "kd download" in str(caught.value)


def test_another_teacher_is_refused(copied: Path, teacher: PretrainedWeights) -> None:
    name = "features.0.bias"
    other = {**teacher.state, name: teacher.state[name] + 1}
    (copied / "teacher.safetensors").unlink()
    save_file(other, copied / "teacher.safetensors")
    with pytest.raises(PackageError, match=r"teacher\.safetensors was changed"):
        Package.load(copied)


def test_a_damaged_teacher_is_refused(copied: Path) -> None:
    (copied / "teacher.safetensors").unlink()
    (copied / "teacher.safetensors").write_bytes(b"?" * 100)
    with pytest.raises(PackageError, match=r"teacher\.safetensors was changed"):
        Package.load(copied)


# Choosing and registering


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (15_061_544, {"eca", "mkdad"}),
        (15_061_543, {"mkdad"}),
        (15_061_519, set()),
        (400_000, set()),  # enough for the student, not for the teacher beside it
    ],
)
def test_limits_are_of_all_that_is_deployed(eca: Any, params: int, expected: set[str]) -> None:
    runs = finished_candidates(eca.client, "tiny-eca")
    assert {run.data.tags["placement"] for run in runs} == set(DEPLOYED)
    (choice,) = choose(runs, Limits(params=params))
    assert choice.considered == 2
    if expected:
        assert choice.option is not None
        assert choice.option.best_run("cloth").data.tags["placement"] in expected
    else:
        assert choice.option is None


def test_a_version_says_what_it_is(eca: Any, registered: Any) -> None:
    tags, run = registered.version.tags, eca.runs["eca"]
    expected = {
        "params": "15061544",
        "student_params": "346856",
        "flops": "327619840",
        "student": "eca lightweight 0.1 paper",
        "method": "eca_mkdad",
        "placement": "eca",
        "student_width": "lightweight",
        "lambda": "0.1",
        "stage_key": run.data.tags["stage_key"],
        "run_id": run.info.run_id,
    }
    assert tags.items() >= expected.items()


def test_registering_exports_one_model_that_scores_alike(
    eca: Any, registered: Any, tested_images: torch.Tensor
) -> None:
    again = register(eca.client, registered.name, eca.runs["eca"], registered.export)
    assert str(again.version.version) == str(registered.version.version) == "1"
    assert again.changes == ()
    (output,) = eca.client.get_run(eca.runs["eca"].info.run_id).outputs.model_outputs
    place = Path(mlflow.artifacts.download_artifacts(f"models:/{output.model_id}"))
    (model,) = place.rglob("model.onnx")
    running, stored = session(model.read_bytes()), stored_scores(eca)
    pixels = ((tested_images + 1) * 127.5).numpy()
    for count in (1, 2, 7):
        scores = torch.from_numpy(run(running, pixels[:count])).double()
        torch.testing.assert_close(scores, stored[:count], rtol=1e-4, atol=0)


def test_images_whose_names_are_not_utf8_are_logged_too(
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    teacher: PretrainedWeights,
    storage: StorageSpec,
    recorder: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Their names are the captions of heat maps: matplotlib and the database refuse such text."""
    names = tuple(f"{os.fsdecode(bytes([0xE0 + n]))} ${n}" for n in range(len(cloth.test.labels)))
    images = replace(cloth, test_names=names)
    plan = eca_plan(images, name="odd-names", training={"epochs": 1, "batch_size": 4})
    (stage,), store = plan.stages.values(), open_store(str(tmp_path / "store"))
    context = context_in(
        store,
        images,
        read_pretrained=lambda: teacher.state,
    )
    session = recorder()
    assert run_pack(Pack.of([stage]), context, World(), session) == {}
    captions = [one.caption for one in read_shown(store, stage)]
    assert len(captions) == len(set(captions)) > 1
    assert all(re.fullmatch(r"[a-z ]+: \\xe[0-9a-f] \$[0-9]", caption) for caption in captions)
    tracker = Tracker(plan, store, storage)
    tracker.fail_stage(stage, "failed", f"{names[0]} cannot be read")
    client = connect(storage.mlflow_uri)
    (run,) = client.search_runs(
        [tracker.experiment_id], filter_string=f"tags.stage_key = '{stage.key}'"
    )
    assert run.data.tags["reason"] == r"\udce0 $0 cannot be read"
    tracker.finish_stage(
        stage_result(stage, store, "holdout"), candidate_result(plan, plan.candidates[0], store)
    )
    pictures = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"heatmaps.png", "layers.png"} <= pictures
