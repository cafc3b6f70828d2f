"""The sweep file: every mistake is answered with file, setting and what was expected."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kd_models.data import dataset_row
from kd_models.methods.registry import methods
from kd_models.recipe import Recipe
from orchestrator.errors import UserError
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.storage import StorageSpec
from orchestrator.planning.sweep_file import read_spec

SMALLEST = {"name": "a", "datasets": ["digits"], "structures": ["kdgan-2"]}

Read = Callable[..., SweepSpec]


def own_settings(spec: SweepSpec) -> Any:
    """The settings of the sweep's one method."""
    return spec.methods[0].settings


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads SMALLEST with changes, from a file called a.yaml; None leaves a setting out."""

    def run(overrides: list[str] | None = None, **changes: Any) -> SweepSpec:
        raw = {name: value for name, value in {**SMALLEST, **changes}.items() if value is not None}
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump(raw))
        return read_spec(path, overrides or [])

    return run


@pytest.fixture
def complaint(read: Read, tmp_path: Path) -> Callable[..., str]:
    """What ``read`` complains of, each line without the folder's name."""

    def run(overrides: list[str] | None = None, **changes: Any) -> str:
        with pytest.raises(SpecError) as caught:
            read(overrides, **changes)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


def test_the_smallest_file_has_the_documented_defaults(read: Read) -> None:
    spec = read()
    assert spec.normal_classes == "all"
    assert spec.seeds == (0,)
    assert (
        own_settings(spec).training.epochs,
        own_settings(spec).training.batch_size,
        own_settings(spec).training.lr,
    ) == (30, 64, 0.002)
    assert own_settings(spec).training.schedule == "cosine"
    assert spec.evaluation.protocol == "holdout"
    assert own_settings(spec).teacher.widths == (64, 128, 256)
    assert not own_settings(spec).teacher.joint


def test_errors_are_for_the_user() -> None:
    assert issubclass(SpecError, UserError)


# Unknown keys


@pytest.mark.parametrize(
    ("changes", "setting", "nearest"),
    [
        ({"trainning": {}}, "trainning", "training"),
        ({"training": {"ephocs": 3}}, "training.ephocs", "epochs"),
        ({"teacher": {"training": {"ephocs": 3}}}, "teacher.training.ephocs", "epochs"),
        ({"teacher": {"loss_weights": {"cn": 1}}}, "teacher.loss_weights.cn", "con"),
        ({"loss_weights": [{}, {"enk": 1}]}, "loss_weights.1.enk", "enc"),
        ({"resources": {"wokers": 1}}, "resources.wokers", "workers"),
        ({"evaluation": {"protokol": "paper"}}, "evaluation.protokol", "protocol"),
        ({"storage": {"rot": "/x"}}, "storage.rot", "root"),
    ],
)
def test_unknown_key_names_file_key_and_the_nearest(
    complaint: Callable[..., str], changes: dict[str, Any], setting: str, nearest: str
) -> None:
    first = complaint(**changes).splitlines()[0]
    assert first.startswith(f"a.yaml: {setting} is not a setting; did you mean {nearest}? (")
    assert nearest in first.partition("(there are ")[2].rstrip(")").split(", ")


def test_unknown_key_near_to_nothing_lists_what_there_is(complaint: Callable[..., str]) -> None:
    assert complaint(training={"zzz": 1}).splitlines()[0] == (
        "a.yaml: training.zzz is not a setting (there are epochs, batch_size, lr, betas, schedule)"
    )


def test_every_mistake_is_told_at_once(complaint: Callable[..., str]) -> None:
    lines = complaint(name=None, resources={"wokers": 1}, seeds=["x"]).splitlines()
    assert lines[0] == "a.yaml: name is missing"
    assert any("seeds.0: " in line for line in lines)
    assert any("resources.wokers" in line for line in lines)


@given(st.sampled_from(sorted(Recipe.model_fields)), st.integers(0, 20), st.sampled_from("xyz"))
def test_any_misspelt_recipe_setting_is_named(name: str, at: int, letter: str) -> None:
    misspelt = name[:at] + letter + name[at:]
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate({**SMALLEST, "training": {misspelt: 1}})
    places = [error["loc"] for error in caught.value.errors()]
    assert ("methods", 0, "settings", "training", misspelt) in places


# Values


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"training": {"schedule": "cosin"}},
            "training.schedule: Input should be 'cosine' or 'constant', not 'cosin'; "
            "did you mean cosine?",
        ),
        (
            {"normalisation": "per_image"},
            "normalisation: Input should be 'batch' or 'per-image', not 'per_image'; "
            "did you mean per-image?",
        ),
        (
            {"evaluation": {"protocol": "papr"}},
            "evaluation.protocol: Input should be 'paper' or 'holdout', not 'papr'; "
            "did you mean paper?",
        ),
        (
            {"distance": "l22"},
            "distance: Input should be 'l2' or 'mse', not 'l22'; did you mean l2?",
        ),
        (
            {"method": "pkd"},
            f"method: 'pkd' is no method; the methods are {', '.join(methods())}; did you mean "
            "pkdgan?",
        ),
        ({"resources": {"concurrent_trials": "auot"}}, "did you mean auto?"),
        ({"student_widths": "papr"}, "did you mean paper?"),
        ({"normal_classes": "al"}, "did you mean all?"),
    ],
)
def test_unknown_value_names_the_valid_ones_and_the_nearest(
    complaint: Callable[..., str], changes: dict[str, Any], line: str
) -> None:
    message = complaint(**changes)
    assert line in message
    assert all(text.startswith("a.yaml: ") for text in message.splitlines())


def test_unknown_structure_names_the_valid_ones_and_the_nearest(
    complaint: Callable[..., str],
) -> None:
    message = complaint(structures=["kdgan-2", "p-kdgan-233"])
    assert message.startswith("a.yaml: structures: 'p-kdgan-233' is no structure")
    assert "alone, kdgan-1, kdgan-2, kdgan-3, kdgan-4, p-kdgan-23, p-kdgan-24" in message
    assert "did you mean p-kdgan-23?" in message


@pytest.mark.parametrize(
    ("changes", "setting", "expected"),
    [
        ({"training": {"epochs": "many"}}, "training.epochs", "valid integer"),
        ({"training": {"epochs": 2.5}}, "training.epochs", "valid integer"),
        ({"training": {"epochs": 0}}, "training.epochs", "greater than or equal to 1"),
        ({"training": {"batch_size": 0}}, "training.batch_size", "greater than or equal to 1"),
        ({"training": {"lr": 0}}, "training.lr", "greater than 0"),
        ({"training": {"lr": float("nan")}}, "training.lr", "finite number"),
        ({"training": {"betas": [0.5, 1]}}, "training.betas.1", "less than 1"),
        ({"training": 5}, "training", "dictionary"),
        ({"teacher": {"widths": [1, 2, 0]}}, "teacher.widths.2", "greater than or equal to 1"),
        ({"datasets": "digits"}, "datasets", "valid list"),
        ({"datasets": []}, "datasets", "at least 1 item"),
        ({"structures": []}, "structures", "at least 1 item"),
        ({"seeds": []}, "seeds", "at least 1 item"),
        ({"seeds": ["a"]}, "seeds.0", "valid integer"),
        ({"name": "a/b"}, "name", "match pattern"),
        ({"name": "a b"}, "name", "match pattern"),
        ({"name": ".a"}, "name", "match pattern"),
        ({"name": 7}, "name", "valid string"),
        ({"resources": {"workers": 0}}, "resources.workers", "greater than or equal to 1"),
        ({"resources": {"cpus_per_worker": 0}}, "resources.cpus_per_worker", "greater than 0"),
        ({"resources": {"retries": -1}}, "resources.retries", "greater than or equal to 0"),
        ({"evaluation": {"every": 0}}, "evaluation.every", "greater than or equal to 1"),
        ({"normal_classes": []}, "normal_classes", "at least 1 item"),
        ({"normal_classes": {"digits": []}}, "normal_classes.digits", "at least 1 item"),
        ({"student_widths": [[1, 2, 0]]}, "student_widths.0.2", "greater than or equal to 1"),
        ({"teacher": {"joint": "perhaps"}}, "teacher.joint", "valid boolean"),
    ],
)
def test_a_value_that_does_not_fit_is_shown_with_what_was_expected(
    complaint: Callable[..., str], changes: dict[str, Any], setting: str, expected: str
) -> None:
    lines = complaint(**changes).splitlines()
    value: Any = changes
    for part in setting.split("."):
        value = value[int(part) if isinstance(value, list) else part]
    wanted = [line for line in lines if line.startswith(f"a.yaml: {setting}: ")]
    assert any(expected in line and f"not {value!r}" in line for line in wanted), lines


@pytest.mark.parametrize("setting", ["name", "datasets", "structures"])
def test_what_has_no_default_is_asked_for(complaint: Callable[..., str], setting: str) -> None:
    assert complaint(**{setting: None}) == f"a.yaml: {setting} is missing"


def test_width_of_too_few_layers_is_refused(complaint: Callable[..., str]) -> None:
    assert "student_widths.0.2 is missing" in complaint(student_widths=[[1, 2]])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"normal_classes": 5},
            "normal_classes: Input should be 'all' or a valid list or a valid dictionary, not 5",
        ),
        (
            {"normal_classes": {"folder:/x[old]/tuple": [1.5]}},
            "normal_classes.folder:/x[old]/tuple.0: Input should be a valid integer or a valid "
            "string, not 1.5; text that looks like a number, true, false or null needs quotes",
        ),
        (
            {"normal_classes": {"digits": 3}},
            "normal_classes.digits: Input should be 'all' or a valid list, not 3",
        ),
        (
            {"normal_classes": []},
            "normal_classes: List should have at least 1 item after validation, not 0, not []",
        ),
        (
            {"resources": {"lanes": "aut"}},
            "resources.lanes: Input should be a valid integer or 'auto', not 'aut'; "
            "did you mean auto?",
        ),
        (
            {"resources": {"concurrent_trials": 0}},
            "resources.concurrent_trials: Input should be greater than or equal to 1, not 0",
        ),
        (
            {"evaluation": {"every[x]": 1}},
            "evaluation.every[x] is not a setting; did you mean every? (there are protocol, every)",
        ),
        (
            {"datasets": ["mvtec:/no/tuple of Tuples"]},
            "datasets: /no/tuple of Tuples is not there; a folder in MVTec AD's layout is a tree",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_names_as_they_were_written(
    complaint: Callable[..., str], changes: dict[str, Any], line: str
) -> None:
    first, *more = complaint(**changes).splitlines()
    assert first.startswith(f"a.yaml: {line}")
    assert not [other for other in more if other.startswith("a.yaml: ")]


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"lr": float("inf")}},
        {"loss_weights": [{"con": float("nan")}]},
        {"teacher": {"loss_weights": {"con": float("inf")}}},
    ],
)
def test_numbers_that_cannot_be_part_of_a_key_are_refused(
    complaint: Callable[..., str], changes: dict[str, Any]
) -> None:
    assert "finite" in complaint(**changes)


# Files


@pytest.mark.parametrize("text", ["a: [", "\0", "a: b: c"])
def test_a_file_that_is_not_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match="is not YAML") as caught:
        read_spec(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match="is not YAML"):
        read_spec(path)


@pytest.mark.parametrize(("text", "found"), [("", "None"), ("- a", "['a']"), ("word", "'word'")])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert str(caught.value).startswith(f"{path}: expected settings (name: ")
    assert str(caught.value).endswith(f"found {found}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert str(caught.value) == f"{path}: cannot be read (No such file or directory)"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot be read \(Is a directory\)"):
        read_spec(tmp_path)


def test_the_files_that_come_with_the_project_can_be_read() -> None:
    files = sorted((Path(__file__).parents[3] / "jobs/sweeps").glob("*.yaml"))
    assert {"quickstart.yaml", "pkdgan-paper.yaml"} <= {path.name for path in files}
    for path in files:
        assert read_spec(path).name == path.stem


# Overrides


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("training.epochs=7", lambda spec: own_settings(spec).training.epochs == 7),
        (
            "training.betas=[0.1, 0.2]",
            lambda spec: own_settings(spec).training.betas == (0.1, 0.2),
        ),
        ("seeds=[1, 2]", lambda spec: spec.seeds == (1, 2)),
        ("name=other", lambda spec: spec.name == "other"),
        (
            "teacher.training.lr=0.5",
            lambda spec: own_settings(spec).teacher.training.lr == 0.5,
        ),
        ("normal_classes={digits: [3]}", lambda spec: spec.normal_classes == {"digits": (3,)}),
        ("storage.root=/a=b", lambda spec: spec.storage.root == "/a=b"),
    ],
)
def test_override_creates_what_the_file_lacks(
    read: Read, override: str, found: Callable[[SweepSpec], bool]
) -> None:
    assert found(read([override]))


def test_override_replaces_one_setting_and_keeps_its_neighbours(read: Read) -> None:
    training = (
        read(["training.epochs=7"], training={"epochs": 3, "batch_size": 8})
        .methods[0]
        .settings.training
    )
    assert (training.epochs, training.batch_size) == (7, 8)


def test_of_two_overrides_the_last_counts(read: Read) -> None:
    assert own_settings(read(["training.epochs=7", "training.epochs=8"])).training.epochs == 8


@pytest.mark.parametrize(
    "override", ["training.epochs", "=3", "training..epochs=3", ".epochs=3", "training.=3", ""]
)
def test_override_without_key_or_value(complaint: Callable[..., str], override: str) -> None:
    assert complaint([override]) == (
        f"--set {override}: expected key=value, such as training.epochs=3"
    )


def test_override_that_is_not_yaml(complaint: Callable[..., str]) -> None:
    assert complaint(["seeds=[1"]) == (
        "--set seeds=[1: '[1' is not a YAML value (expected ',' or ']', but got '<stream end>')"
    )


@pytest.mark.parametrize("override", ["name.x=3", "structures.0=kdgan-3", "training.lr.x=1"])
def test_override_through_a_value(complaint: Callable[..., str], override: str) -> None:
    through = override.partition("=")[0].split(".")[-2]
    message = complaint([override], training={"lr": 0.1})
    assert message == f"--set {override}: {through} is a value, not a group of settings"


def test_override_of_an_unknown_setting_is_refused_as_in_the_file(
    complaint: Callable[..., str],
) -> None:
    assert "training.ephocs is not a setting; did you mean epochs?" in complaint(
        ["training.ephocs=3"]
    )


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_any_number_survives_an_override(epochs: int, batch: int) -> None:
    path = Path(__file__).parents[3] / "jobs/sweeps/quickstart.yaml"
    spec = read_spec(path, [f"training.epochs={epochs}", f"training.batch_size={batch + 1}"])
    assert (
        own_settings(spec).training.epochs,
        own_settings(spec).training.batch_size,
    ) == (epochs, batch + 1)


# Across settings


def test_teacher_trains_as_the_sweep_does_but_for_its_own_settings(read: Read) -> None:
    spec = read(
        training={"epochs": 7, "batch_size": 8, "schedule": "constant"},
        teacher={"training": {"epochs": 5}},
    )
    assert own_settings(spec).teacher.training == Recipe(
        epochs=5, batch_size=8, schedule="constant"
    )
    assert own_settings(spec).training == Recipe(epochs=7, batch_size=8, schedule="constant")


def test_teacher_follows_an_override_of_training(read: Read) -> None:
    assert own_settings(read(["training.epochs=9"])).teacher.training.epochs == 9


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"training": {"batch_size": 2}}, "training"),
        ({"teacher": {"training": {"batch_size": 2}}}, "teacher.training"),
    ],
)
def test_more_workers_than_images_in_a_batch(
    complaint: Callable[..., str], changes: dict[str, Any], where: str
) -> None:
    message = complaint(resources={"workers": 3}, **changes)
    assert message == f"a.yaml: {where}.batch_size is 2: 3 resources.workers cannot share it"


@pytest.mark.parametrize(
    ("gpus", "workers", "message"),
    [
        (1.5, 1, "gpus_per_worker is 1.5, but a worker trains on one GPU"),
        (0.5, 2, "gpus_per_worker is 0.5 and workers 2, but NCCL refuses two workers on one GPU"),
    ],
)
def test_gpus_that_no_worker_can_use(
    complaint: Callable[..., str], gpus: float, workers: int, message: str
) -> None:
    resources = {"gpus_per_worker": gpus, "workers": workers}
    assert complaint(resources=resources).startswith(f"a.yaml: resources: {message}")


@pytest.mark.parametrize("gpus", [0.25, 1, 2])
def test_gpus_by_part_or_whole(read: Read, gpus: float) -> None:
    assert read(resources={"gpus_per_worker": gpus}).resources.gpus_per_worker == gpus


def test_as_many_workers_as_images_in_a_batch(read: Read) -> None:
    spec = read(resources={"workers": 2}, training={"batch_size": 2})
    assert spec.resources.workers == 2


@pytest.mark.parametrize(
    ("wanted", "classes"),
    [
        ("all", ("a", "b", "c")),
        (["c", 0], ("c", 0)),
        ({"digits": "all"}, ("a", "b", "c")),
        ({"digits": [2], "mnist": "all"}, (2,)),
    ],
)
def test_normal_classes_of_a_dataset(read: Read, wanted: Any, classes: tuple[Any, ...]) -> None:
    spec = read(normal_classes=wanted)
    assert tuple(spec.classes_of(spec.methods[0], "digits", ("a", "b", "c"))) == classes


def test_normal_classes_for_other_datasets_only(read: Read) -> None:
    spec = read(normal_classes={"digit": "all", "mnist": [1]})
    with pytest.raises(SpecError) as caught:
        spec.classes_of(spec.methods[0], "digits", ("0",))
    assert str(caught.value) == (
        "normal_classes has no entry for dataset digits; it has digit, mnist; did you mean digit?"
    )


# Storage


def test_root_is_below_home_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert StorageSpec().local_path == Path("/home/somebody/kd-sweeps")
    monkeypatch.setenv("KD_HOME", "/elsewhere")
    assert StorageSpec().local_path == Path("/elsewhere")
    assert StorageSpec(root="/here").local_path == Path("/here")


def test_everything_is_below_root_unless_said_otherwise() -> None:
    storage = StorageSpec(root="/r")
    assert (storage.root_uri, storage.store_uri) == ("/r", "/r/store")
    assert storage.data_path == Path("/r/data")
    assert storage.mlflow_uri == "sqlite:////r/mlflow.db"


def test_a_tilde_is_the_home_folder_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    storage = StorageSpec(root="~/r", store="~/s", data="~/d")
    assert storage.local_path == Path("/home/somebody/r")
    assert (storage.root_uri, storage.store_uri) == ("/home/somebody/r", "/home/somebody/s")
    assert storage.data_path == Path("/home/somebody/d")
    assert storage.mlflow_uri == "sqlite:////home/somebody/r/mlflow.db"


def test_tracking_uri_of_the_file_before_the_environments_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    assert StorageSpec(root="/r").mlflow_uri == "http://from.environment"
    configured = StorageSpec(root="/r", tracking_uri="http://from.file")
    assert configured.mlflow_uri == "http://from.file"


def test_a_relative_root_gives_an_absolute_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert StorageSpec(root="runs").mlflow_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


@pytest.fixture
def in_a_ray_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)


@pytest.mark.usefixtures("in_a_ray_job")
@pytest.mark.parametrize(
    ("storage", "name"),
    [({"root": "runs"}, "root"), ({"root": "/r", "store": "somewhere"}, "store")],
)
def test_a_ray_jobs_own_folder_is_no_place_for_results(
    complaint: Callable[..., str], storage: dict[str, str], name: str
) -> None:
    message = complaint(storage=storage)
    assert message.startswith(
        f"a.yaml: storage: {name} is {storage[name]!r}, relative to a Ray job's working directory"
    )
    assert "give an absolute path" in message


@pytest.mark.usefixtures("in_a_ray_job")
def test_an_absolute_root_is_fine_in_a_ray_job(read: Read) -> None:
    assert read(storage={"root": "/r"}).storage.root == "/r"
    assert read().storage.root == "~/kd-sweeps"


def test_a_relative_root_is_fine_elsewhere(read: Read) -> None:
    assert read(storage={"root": "runs"}).storage.local_path == Path("runs").absolute()


# What nobody wrote

FILE = """
name: a
datasets: [digits]
normal_classes: [0]
structures: [kdgan-2]
"""


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str], str]:
    """What is said of a file with these lines added."""

    def run(lines: str) -> str:
        path = tmp_path / "a.yaml"
        path.write_text(FILE + lines)
        with pytest.raises(SpecError) as caught:
            read_spec(path)
        return str(caught.value).replace(str(path), "a.yaml")

    return run


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (
            "training: {epochs: true}",
            "training.epochs: Input should be a valid integer, not True",
        ),
        (
            "training: {epochs: 010}",
            "training.epochs: Input should be a valid integer, not '010'; numbers are decimal",
        ),
        ("training: {epochs: 1_0}", "training.epochs: Input should be a valid integer, not '1_0'"),
        ("training: {epochs: 1:2}", "training.epochs: Input should be a valid integer, not '1:2'"),
        ("training: {epochs: '5'}", "training.epochs: Input should be a valid integer, not '5'"),
        ("training: {epochs: 5.0}", "training.epochs: Input should be a valid integer, not 5.0"),
        ("training: {lr: true}", "training.lr: Input should be a valid number, not True"),
        ("teacher: {joint: 1}", "teacher.joint: Input should be a valid boolean, not 1"),
        ("teacher: {joint: yes}", "teacher.joint: Input should be a valid boolean, not 'yes'"),
        ("seeds: [true]", "seeds.0: Input should be a valid integer, not True"),
        ("resources: {lanes: true}", "resources.lanes: Input should be"),
        ("storage: {root: ''}", "storage.root: String should have at least 1 character"),
        ("storage: {root: 1}", "storage.root: Input should be a valid string, not 1; text that"),
        ("distance: 2", "distance: Input should be 'l2' or 'mse', not 2"),
        ("training: {lr: 1}\ntraining: {epochs: 2}", "training is given twice, in line 6 and in"),
        ("seeds: 2024-01-01", "seeds: Input should be a valid list, not '2024-01-01'"),
    ],
)
def test_a_value_that_looks_like_another_is_refused(
    said: Callable[[str], str], lines: str, line: str
) -> None:
    assert line in said(lines)


@pytest.mark.parametrize(
    ("text", "classes"),
    [("[01]", ("01",)), ("[1:2, 0x1]", ("1:2", "0x1")), ("[no, 1e3x]", ("no", "1e3x"))],
)
def test_a_class_is_the_text_that_was_written(
    tmp_path: Path, text: str, classes: tuple[str, ...]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(FILE.replace("[0]", text))
    assert read_spec(path).normal_classes == classes


@pytest.mark.parametrize("text", ["1.5", "true", "null", "1e3"])
def test_a_class_that_is_read_as_no_text_needs_quotes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(FILE.replace("[0]", f"[{text}]"))
    with pytest.raises(SpecError, match="looks like a number, true, false or null needs quotes"):
        read_spec(path)
    path.write_text(FILE.replace("[0]", f"['{text}']"))
    assert read_spec(path).normal_classes == (text,)


def test_an_override_is_read_alike(complaint: Callable[..., str]) -> None:
    assert "training.epochs: Input should be a valid integer, not '010'" in complaint(
        ["training.epochs=010"]
    )
    assert "a is given twice, in line 1 and in line 1" in complaint(["training={a: 1, a: 2}"])


def test_an_override_changes_one_of_two_groups_that_an_alias_shares(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(FILE + "training: &t {epochs: 5}\nteacher: {training: *t}\n")
    spec = read_spec(path, ["training.epochs=7"])
    assert (
        own_settings(spec).training.epochs,
        own_settings(spec).teacher.training.epochs,
    ) == (7, 5)


@pytest.mark.parametrize("name", ["default", "Default", "x" * 101])
def test_a_name_that_mlflow_has_or_cannot_hold_is_refused(
    complaint: Callable[..., str], name: str
) -> None:
    assert complaint(name=name).startswith("a.yaml: name: ")


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("KD_HOME", "")
    assert StorageSpec().local_path == Path("/home/somebody/kd-sweeps")


@pytest.mark.parametrize(
    ("root", "reason"), [("/a\udcff", "is not UTF-8"), ("/a?b", "what follows the question mark")]
)
def test_a_home_that_no_database_can_lie_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, root: str, reason: str
) -> None:
    monkeypatch.setenv("KD_HOME", root)
    with pytest.raises(ValidationError, match=reason):
        StorageSpec()


def test_names_that_are_not_utf8_are_kept_in_a_spelling_that_is(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    (place / os.fsdecode(b"\xff/train/good")).mkdir(parents=True)
    spec = SweepSpec.model_validate(
        {
            **SMALLEST,
            "datasets": [f"mvtec:{place}"],
            "normal_classes": {f"mvtec:{place}": [os.fsdecode(b"\xff")]},
        }
    )
    assert spec.datasets == (rf"mvtec:{tmp_path}/caf\xe9",)
    assert spec.normal_classes == {spec.datasets[0]: (r"\xff",)}
    json.dumps(spec.model_dump(mode="json")).encode()
    assert list(dataset_row(spec.datasets[0]).classes) == [r"\xff"]


@given(
    st.text(st.characters(exclude_categories=[]), max_size=12)
    | st.from_regex(r"\A[A-Za-z0-9.]{1,90}\Z")
)
def test_a_sweep_s_name_of_any_kind_is_taken_or_refused_in_words(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.yaml")
        path.write_text(json.dumps({**SMALLEST, "name": name}))
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and name.lower() != "default":
            assert read_spec(path).name == name
        else:
            with pytest.raises(SpecError, match="name: "):
                read_spec(path)


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        *product(["root", "store", "data"], ["gs://b", "file:/x", "S3://bucket"]),
        *product(["root", "store"], ["s3://", "s3:/bucket", "s3:///x", "s3://b/x?y"]),
        ("data", "s3://bucket/x"),
    ],
)
def test_a_place_that_is_neither_folder_nor_bucket_is_refused(
    complaint: Callable[..., str], setting: str, place: str
) -> None:
    scheme = place.partition(":")[0]
    expected = "a folder" if setting == "data" else "a folder or s3://bucket/prefix"
    assert complaint(storage={setting: place}) == (
        f"a.yaml: storage: {setting} is {place!r}; expected {expected}: {scheme} is not supported"
    )


@pytest.mark.parametrize(
    ("storage", "root", "store"),
    [
        ({"root": "s3://b"}, "s3://b", "s3://b/store"),
        ({"root": "s3://b/some/where/"}, "s3://b/some/where", "s3://b/some/where/store"),
        ({"root": "s3://b/x", "store": "/local"}, "s3://b/x", "/local"),
        ({"root": "/local", "store": "s3://b/x/"}, "/local", "s3://b/x"),
    ],
)
def test_results_may_lie_in_a_bucket(storage: dict[str, str], root: str, store: str) -> None:
    spec = StorageSpec(**storage)
    assert (spec.root_uri, spec.store_uri) == (root, store)


def test_what_cannot_lie_in_a_bucket_lies_below_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for home, local in (("", "/home/somebody/kd-sweeps"), ("/here", "/here")):
        monkeypatch.setenv("KD_HOME", home)
        storage = StorageSpec(root="s3://b/x")
        assert storage.data_path == Path(local, "data")
        assert storage.mlflow_uri == f"sqlite:///{local}/mlflow.db"
    monkeypatch.setenv("KD_HOME", "s3://c")
    assert StorageSpec().root_uri == "s3://c"
    assert StorageSpec().local_path == Path("/home/somebody/kd-sweeps")


def test_a_folder_may_have_a_colon(read: Read) -> None:
    assert read(storage={"root": "/a:b/c"}).storage.local_path == Path("/a:b/c")
