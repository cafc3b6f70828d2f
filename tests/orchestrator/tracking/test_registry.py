"""Choosing by what was measured, registering, and fetching a student again."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_model_name
from PIL import Image

from kd_models.data import DataError, ImageSet, one_class, to_model_input
from kd_models.evaluation.metrics import auroc
from kd_models.package import Package
from kd_score.detector import write_sums
from kd_score.errors import PackageError
from orchestrator.errors import UserError
from orchestrator.exporting import Exporter
from orchestrator.planning.axes import TAKEN_AXES
from orchestrator.planning.storage import StorageSpec
from orchestrator.tracking.registry import (
    CHAMPION,
    RegistryError,
    fetch,
    finished_candidates,
    register,
    registered_name,
)

pytestmark = [  # of MLflow's own making
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]


@pytest.fixture(autouse=True)
def away_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Names


def name_of(dataset: str, normal_class: str = "normal") -> str:
    return registered_name("s", dataset, normal_class)


def test_a_model_is_named_by_sweep_dataset_and_class() -> None:
    assert name_of("digits", "0") == "s.digits.0"


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("/data/parts", r"s\.parts-[0-9a-f]{8}\.normal"),
        ("/data/my parts: new", r"s\.my-parts-new-[0-9a-f]{8}\.normal"),
        ("/data/a+b (1)", r"s\.a-b-1--[0-9a-f]{8}\.normal"),
        ("/data/ü", r"s\.ü-[0-9a-f]{8}\.normal"),
        ("/data/v1.2", r"s\.v1-2-[0-9a-f]{8}\.normal"),
        ("/", r"s\.-[0-9a-f]{8}\.normal"),
    ],
)
def test_a_folders_name_loses_what_the_registry_does_not_allow(folder: str, pattern: str) -> None:
    assert re.fullmatch(pattern, name_of(f"folder:{folder}"))


@pytest.mark.parametrize(
    ("normal_class", "pattern"),
    [
        ("metal_nut", "metal_nut"),
        ("螺丝", "螺丝"),
        ("screw [m4]", "screw-m4--[0-9a-f]{8}"),
        ("🔩", "--[0-9a-f]{8}"),
        (r"\xff", "-xff-[0-9a-f]{8}"),
        ("a.b", "a-b-[0-9a-f]{8}"),
        ("a-b-01234567", "a-b-01234567-[0-9a-f]{8}"),
        ("x" * 300, "x{60}-[0-9a-f]{8}"),
    ],
)
def test_a_classes_name_too_and_then_ends_in_a_hash(normal_class: str, pattern: str) -> None:
    assert re.fullmatch(pattern, name_of("digits", normal_class).removeprefix("s.digits."))


PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.from_regex(
    r"[a-z.-]{1,4}(-[0-9a-f]{8})?", fullmatch=True
)


@given(st.sets(st.tuples(st.from_regex(r"[a-c][a-c.-]{,3}", fullmatch=True), PARTS, PARTS)))
def test_models_have_names_of_their_own_that_the_registry_takes(
    students: set[tuple[str, str, str]],
) -> None:
    names = {
        registered_name(sweep, f"mvtec:/{dataset}", normal_class)
        for sweep, dataset, normal_class in students
    }
    assert len(names) == len(students)
    for name in names:
        _validate_model_name(name)
        assert len(name) <= 256
        assert re.fullmatch(r"[\w.-]+", name)


@pytest.mark.parametrize("kind", ["folder", "mvtec"])
def test_folders_of_one_name_in_two_places_are_two_models(kind: str) -> None:
    assert re.fullmatch(r"s\.parts-\w+\.normal", name_of(f"{kind}:/a/parts"))
    assert name_of(f"{kind}:/a/parts") != name_of(f"{kind}:/b/parts")


# With MLflow


@pytest.fixture(scope="module")
def logged(log_all: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``trained``, logged to an MLflow whose packages are exported here."""
    return log_all(StorageSpec(root=str(tmp_path_factory.mktemp("registry"))))


@pytest.fixture(scope="module")
def export(logged: Any) -> Exporter:
    return Exporter(logged.client, logged.plan.spec, lambda line: None)


@pytest.fixture(scope="module")
def runs(logged: Any) -> dict[str, Any]:
    """Runs of finished candidates by structure."""
    found = finished_candidates(logged.client, "tiny")
    return {run.data.tags["structure"]: run for run in found}


@pytest.fixture
def clean_registry(logged: Any) -> Iterator[Any]:
    yield logged.client
    for model in logged.client.search_registered_models():
        logged.client.delete_registered_model(model.name)


@pytest.fixture
def registered(clean_registry: Any, runs: dict[str, Any], export: Exporter) -> Any:
    """kdgan-2 as version 1, p-kdgan-23 as version 2 and champion."""
    for structure in ("kdgan-2", "p-kdgan-23"):
        register(clean_registry, NAME, runs[structure], export)
    return clean_registry


NAME = "tiny.digits.0"


def versions(client: Any) -> list[str]:
    found = client.search_model_versions("name = 'tiny.digits.0'")
    return sorted(str(version.version) for version in found)


def champion(client: Any) -> Any:
    return client.get_model_version_by_alias("tiny.digits.0", CHAMPION)


def test_students_are_candidates_and_teachers_are_not(runs: dict[str, Any]) -> None:
    assert runs.keys() == {"kdgan-2", "p-kdgan-23"}


def test_an_unknown_sweep_is_answered_with_those_there_are(logged: Any) -> None:
    with pytest.raises(RegistryError) as caught:
        finished_candidates(logged.client, "tini")
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert message.startswith("there is no sweep tini; did you mean tiny? (there are: ")
    assert "tiny" in message.partition("(there are: ")[2].rstrip(")").split(", ")


def test_a_sweep_with_nothing_finished_says_so(logged: Any) -> None:
    experiment = logged.client.create_experiment("unfinished")
    # A failed one, one still running, and one finished but half logged.
    for status in ("FAILED", "RUNNING", "FINISHED"):
        run = logged.client.create_run(experiment, tags={"role": "candidate"})
        if status != "RUNNING":
            logged.client.set_terminated(run.info.run_id, status)
    with pytest.raises(RegistryError, match="sweep unfinished has no finished candidate yet"):
        finished_candidates(logged.client, "unfinished")


def test_a_version_says_what_it_is(registered: Any, runs: dict[str, Any]) -> None:
    run, version = runs["p-kdgan-23"], champion(registered)
    assert str(version.version) == "2"
    tags, metrics = version.tags, run.data.metrics
    for name in ("auroc", "val_auroc", "test_auroc", "gmean", "fpr", "fnr", "threshold"):
        assert float(tags[name]) == metrics[name], name
    assert tags["params"] == "49722"
    assert tags["flops"] == "76416"
    for name in ("dataset", "normal_class", "method", "structure", "seed", "stage_key"):
        assert tags[name] == run.data.tags[name], name
    assert tags["protocol"] == "holdout"
    assert tags["run_id"] == run.info.run_id
    axes = {"structure", "student_widths", "loss_weights", "score"}
    assert tags.keys() - axes <= TAKEN_AXES
    assert {name for name in run.data.tags if not name.startswith("mlflow.")} - axes <= TAKEN_AXES
    assert json.loads(tags["preprocessing"]) == {
        "depth": None,
        "image_size": 32,
        "channels": 1,
        "resize": "bilinear",
        "value_range": [-1.0, 1.0],
    }


def model_of(client: Any, run: Any) -> Any:
    """The MLflow model that registering has logged to a student's run."""
    (output,) = client.get_run(run.info.run_id).outputs.model_outputs
    return client.get_logged_model(output.model_id)


def test_a_registered_students_model_lies_with_its_own_experiment(
    registered: Any, runs: dict[str, Any], logged: Any
) -> None:
    model = model_of(registered, runs["kdgan-2"])
    assert str(model.experiment_id) == logged.experiment_id
    assert model.artifact_location.startswith(f"file://{logged.storage.root}/mlartifacts/tiny/")


def test_nothing_in_a_model_is_pickled(registered: Any, runs: dict[str, Any]) -> None:
    model = model_of(registered, runs["kdgan-2"])
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert "serving.py" in {path.name for path in files}
    assert {path.suffix for path in files} <= {".onnx", ".json", ".yaml", ".txt", ".py", ""}
    requirements = (folder / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "torch" not in requirements


def test_a_model_scores_as_the_package_does_encoded_images_and_arrays(
    registered: Any, runs: dict[str, Any], digits: ImageSet
) -> None:
    run = runs["kdgan-2"]
    package = Package.load(Path(registered.download_artifacts(run.info.run_id, "package")))
    model = mlflow.pyfunc.load_model(f"models:/{model_of(registered, run).model_id}")
    raw = digits.test.images[:5]
    expected = package.score(to_model_input(raw, image_size=32, channels=1)).numpy()
    threshold = package.config.threshold
    verdicts = ["novel" if score >= threshold else "normal" for score in expected]
    files = []
    for image in raw[:, 0].numpy():
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        files.append(content.getvalue())
    encoded = [base64.b64encode(file).decode() for file in files]
    for request_ in (
        pd.DataFrame({"image": encoded}),
        pd.DataFrame({"image": files}),
        raw[:, 0].numpy(),
    ):
        answer = model.predict(request_)
        assert answer["score"].to_numpy() == pytest.approx(expected, rel=1e-4)
        assert answer["verdict"].tolist() == verdicts


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pd.DataFrame({"picture": ["x"]}), "the columns are"),
        (pd.DataFrame({"image": ["not base64!"]}), "image 0 is no base64"),
        (pd.DataFrame({"image": ["aGVsbG8="]}), "image 0 cannot be read"),
        (pd.DataFrame({"image": [3]}), "image 0 is int"),
        (np.zeros((2, 8)), "shape"),
        (np.full((1, 8, 8), 0.5), "no whole numbers"),
        (np.full((1, 8, 8), 256), "no whole numbers"),
    ],
)
def test_a_request_of_another_kind_is_answered_with_what_is_expected(
    registered: Any, runs: dict[str, Any], request_: Any, said: str
) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{model_of(registered, runs['kdgan-2']).model_id}")
    with pytest.raises(Exception, match=said):
        model.predict(request_)


def test_what_is_so_already_is_left_as_it_is(
    registered: Any, runs: dict[str, Any], export: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = champion(registered)
    for name in ("set_model_version_tag", "set_registered_model_alias", "log_artifacts"):
        monkeypatch.setattr(registered, name, None)
    again = register(registered, NAME, runs["p-kdgan-23"], export)
    assert (str(again.version.version), again.changes) == ("2", ())
    assert versions(registered) == ["1", "2"]
    assert champion(registered) == before


def test_only_what_differs_is_changed(
    registered: Any, runs: dict[str, Any], export: Exporter
) -> None:
    registered.set_model_version_tag(NAME, "1", "params", "7")
    again = register(registered, NAME, runs["kdgan-2"], export, {"reason": "the best"})
    assert again.changes == ("tags params, reason", "description", "alias champion")
    assert versions(registered) == ["1", "2"]
    version = champion(registered)
    assert (str(version.version), version.tags["params"]) == ("1", "49722")
    assert version.tags["reason"] == "the best"


def test_what_cannot_be_registered_stays_a_finished_student(
    clean_registry: Any,
    runs: dict[str, Any],
    export: Exporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(**options: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mlflow.pyfunc.log_model", full)
    monkeypatch.setattr("orchestrator.tracking.registry._logged_model", lambda *_: None)
    with pytest.raises(OSError, match="disk full"):
        register(clean_registry, NAME, runs["kdgan-2"], export)
    before = runs["kdgan-2"].info
    there = {run.info.run_id: run.info for run in finished_candidates(clean_registry, "tiny")}
    assert there[before.run_id].end_time == before.end_time


# A stored file that somebody changed


@pytest.fixture
def stored(registered: Any, runs: dict[str, Any]) -> Iterator[Path]:
    """Where MLflow keeps the files of version 1; as they were, afterwards."""
    uri = registered.get_run(runs["kdgan-2"].info.run_id).info.artifact_uri
    folder = Path(uri.removeprefix("file://")) / "package"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "config.json", "README.md"])
def test_a_stored_file_that_was_changed_is_refused_by_name(
    registered: Any, stored: Path, tmp_path: Path, name: str
) -> None:
    content = bytearray((stored / name).read_bytes())
    content[len(content) // 2] ^= 1
    (stored / name).write_bytes(content)
    with pytest.raises(PackageError, match=f"{name} was changed or is damaged"):
        fetch(registered, f"{NAME}/1", tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_nor_do_other_checksums_help(
    registered: Any, stored: Path, runs: dict[str, Any], export: Exporter, tmp_path: Path
) -> None:
    (stored / "README.md").write_text("better than it is")
    names = [path.name for path in stored.iterdir() if path.name != "SHA256SUMS"]
    write_sums(stored, names)
    with pytest.raises(PackageError, match=r"SHA256SUMS of tiny\.digits\.0/1 was changed"):
        fetch(registered, f"{NAME}/1", tmp_path / "student")
    with pytest.raises(RegistryError, match=r"files of tiny\.digits\.0/1 were changed"):
        register(registered, NAME, runs["kdgan-2"], export)


def test_data_that_is_not_the_sweeps_is_no_measure(
    clean_registry: Any, runs: dict[str, Any], logged: Any, tmp_path: Path
) -> None:
    package = Package.load(
        Path(clean_registry.download_artifacts(runs["kdgan-2"].info.run_id, "package"))
    )
    other = package.config.model_copy(update={"fingerprint": "another", "exports": None})
    exporter = Exporter(logged.client, logged.plan.spec, lambda line: None)
    with pytest.raises(DataError, match="is not what the student of class 0 was trained on"):
        exporter(Package(other, package.weights), tmp_path / "exported")


# Fetching


@pytest.mark.parametrize(
    ("model", "structure"),
    [
        ("tiny.digits.0", "p-kdgan-23"),
        ("tiny.digits.0@champion", "p-kdgan-23"),
        ("tiny.digits.0/1", "kdgan-2"),
        ("tiny.digits.0/2", "p-kdgan-23"),
    ],
)
def test_a_student_is_fetched_by_name_alias_or_version(
    registered: Any, runs: dict[str, Any], tmp_path: Path, model: str, structure: str
) -> None:
    package = fetch(registered, model, tmp_path / "student")
    assert package.config.axes["structure"] == structure
    assert package.config.stage_key == runs[structure].data.tags["stage_key"]
    names = {path.name for path in (tmp_path / "student").iterdir()}
    assert names >= {"README.md", "config.json", "model.safetensors", "model.onnx", "SHA256SUMS"}


def test_a_fetched_student_scores_the_test_set_to_the_registered_auroc(
    registered: Any, digits: ImageSet, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        package = fetch(registered, f"tiny.digits.0/{version}", tmp_path / version)
        prepared = package.config.preprocessing
        task = one_class(
            digits,
            package.config.normal_class,
            image_size=prepared.image_size,
            channels=prepared.channels,
        )
        found = auroc(package.score(task.test).double().numpy(), task.novel.numpy())
        tags = registered.get_model_version("tiny.digits.0", version).tags
        # In another memory layout last bits differ, and one of 52 x 487 pairs may change places.
        assert found == pytest.approx(float(tags["auroc"]), abs=1e-4)


def test_an_alias_given_by_hand_can_be_fetched(registered: Any, tmp_path: Path) -> None:
    registered.set_registered_model_alias("tiny.digits.0", "field-test", "1")
    package = fetch(registered, "tiny.digits.0@field-test", tmp_path / "student")
    assert package.config.axes["structure"] == "kdgan-2"


def test_an_empty_folder_is_a_fine_place(registered: Any, tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    fetch(registered, "tiny.digits.0", tmp_path / "student")
    assert (tmp_path / "student/config.json").exists()


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text("x"), lambda p: (p / "a").mkdir(parents=True)]
)
def test_nothing_is_overwritten(
    registered: Any, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    place = tmp_path / "student"
    make(place)
    with pytest.raises(RegistryError, match=f"{place} is there already; give a new or empty"):
        fetch(registered, "tiny.digits.0", place)


def test_an_unknown_name_is_answered_with_those_there_are(registered: Any, tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        fetch(registered, "tiny.digit.0", tmp_path / "student")
    assert str(caught.value) == (
        "no student is registered as tiny.digit.0; did you mean tiny.digits.0? "
        "(there are: tiny.digits.0)"
    )
    assert not (tmp_path / "student").exists()


def test_where_nothing_is_registered_the_job_that_does_it_is_named(
    clean_registry: Any, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"none; kd choose --register registers them"):
        fetch(clean_registry, "tiny.digits.0", tmp_path / "student")


@pytest.mark.parametrize(
    "model", ["tiny.digits.0@chmpion", "tiny.digits.0/3", "tiny.digits.0/latest"]
)
def test_an_unknown_alias_or_version_is_answered_with_those_there_are(
    registered: Any, tmp_path: Path, model: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        fetch(registered, model, tmp_path / "student")
    message = str(caught.value)
    assert message.startswith(f"there is no {model}; there are ")
    assert "tiny.digits.0/1" in message
    assert "tiny.digits.0/2" in message


def test_an_unknown_alias_is_answered_with_the_aliases_there_are(
    registered: Any, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"tiny\.digits\.0/2 \(@champion\)"):
        fetch(registered, "tiny.digits.0@chmpion", tmp_path / "student")


@pytest.mark.parametrize("model", ["tiny.digits.0@", "tiny.digits.0/", "tiny.digits.0@a/1"])
def test_a_name_that_is_half_an_address(logged: Any, tmp_path: Path, model: str) -> None:
    with pytest.raises(RegistryError, match="expected NAME, NAME@alias or NAME/version"):
        fetch(logged.client, model, tmp_path / "student")
