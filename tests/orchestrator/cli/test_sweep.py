"""jobs/sweep.py without Ray: what would be trained, and files that cannot be."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kd_models.data import dataset_row, load
from orchestrator.planning.keys import canonical_json
from orchestrator.planning.plan import DatasetFacts, make_plan
from orchestrator.planning.sweep_file import read_spec
from orchestrator.store import open_store
from orchestrator.store.record import IDENTITY, NETWORKS

SWEEPS = Path(__file__).parents[3] / "jobs/sweeps"


# A sweep that is not a dry run asks MLflow whether it is there.
pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated")


@pytest.fixture
def dry_run(kd: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: object) -> Any:
        return kd("sweep", *arguments, "--dry-run")

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of one class of digits."""
    path = tmp_path / "a.yaml"
    raw = {
        "name": "a",
        "datasets": ["digits"],
        "baselines": [],
        "scores": ["paper"],
        "normal_classes": [0],
        "structures": ["p-kdgan-23"],
        "training": {"epochs": 5},
    }
    path.write_text(yaml.safe_dump(raw))
    return path


def test_the_paper_in_numbers(dry_run: Callable[..., Any]) -> None:
    ended = dry_run(SWEEPS / "pkdgan-paper.yaml", "--set", "baselines=[]", "--json")
    assert ended.exit_code == 0
    assert ended.answer == {
        "name": "pkdgan-paper",
        "candidates": 540,
        "stages": {"teacher": 90, "student": 540},
        "stages_by_step": {
            "teacher": 90,
            "kdgan-1": 90,
            "kdgan-2": 90,
            "kdgan-3": 180,
            "kdgan-4": 180,
        },
        "stages_without_sharing": {"teacher": 540, "student": 720},
        "in_store": 0,
        "trials": 21,
        "epochs": 315_000,
        "epochs_without_sharing": 630_000,
    }
    for dataset in ("cifar10", "mnist", "fmnist"):
        assert f"{dataset} is not in " in ended.stderr


def test_for_a_person_it_is_a_table(dry_run: Callable[..., Any]) -> None:
    ended = dry_run(SWEEPS / "quickstart.yaml")
    assert ended.exit_code == 0
    assert "sweep quickstart, not started" in ended.stdout
    assert "6 (24 if nothing were shared)" in ended.stdout
    assert "42 (66 if nothing were shared)" in ended.stdout


def test_a_dry_run_writes_nothing(dry_run: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    assert dry_run(file).exit_code == 0
    assert not (tmp_path / "home/store").exists()
    assert not (tmp_path / "home/mlflow.db").exists()


def test_overrides_count(dry_run: Callable[..., Any], file: Path) -> None:
    answer = dry_run(
        *(file, "--json", "--set", "training.epochs=7"),
        *("--set", "seeds=[0, 1]", "--set", "structures=[alone]"),
    ).answer
    assert answer["candidates"] == 2
    assert answer["stages"] == {"teacher": 0, "student": 2}
    assert answer["epochs"] == 14


def test_what_the_store_has_is_not_to_be_trained(
    dry_run: Callable[..., Any], file: Path, tmp_path: Path, blob_of: Callable[..., Path]
) -> None:
    spec = read_spec(file)
    loaded = load("digits", tmp_path)
    facts = DatasetFacts(dataset_row("digits"), loaded.fingerprint)
    plan = make_plan(spec, {"digits": facts})
    teacher, first, _ = plan.candidates[0].stages
    store = open_store(str(tmp_path / "home/store"))
    for key in (teacher, first):
        identity = canonical_json(plan.stages[key].identity).encode()
        store.write(key, {NETWORKS: key.encode(), IDENTITY: identity})
    answer = dry_run(file, "--json").answer
    assert (answer["in_store"], answer["trials"], answer["epochs"]) == (2, 1, 5)

    path = blob_of(store, first, NETWORKS)
    path.write_bytes(b"y")
    assert dry_run(file, "--json").answer["in_store"] == 2
    ended = dry_run(file, "--verify", "--json")
    assert (ended.answer["in_store"], ended.answer["trials"]) == (1, 2)
    assert "warning: digits 0 kdgan-2 will be trained again: " in ended.stderr
    assert path.name in ended.stderr
    assert store.has(first), "a dry run changes nothing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainning": {}}, "a.yaml: trainning is not a setting; did you mean training?"),
        ({"structures": ["kdgan-22"]}, "'kdgan-22' is no structure"),
        ({"datasets": ["digts"]}, "no dataset 'digts'"),
        ({"datasets": ["digts"]}, "did you mean digits?"),
        ({"normal_classes": [10]}, "digits has no class 10"),
        ({"datasets": ["folder:/no/such/place"]}, "/no/such/place is not there"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_mistake_in_the_file_ends_with_2_before_anything_starts(
    kd: Callable[..., Any],
    file: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
    dry: list[str],
) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    ended = kd("sweep", file, "--json", *dry)
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert "error: " in ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "a" not in experiments(tmp_path / "home/mlflow.db")


def experiments(database: Path) -> set[str]:
    """Names of MLflow's experiments, none where there is no database yet."""
    if not database.exists():
        return set()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM experiments")}


def test_a_folder_dataset_that_is_not_there_shows_the_tree_that_is_expected(
    dry_run: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "[my] parts"
    (place / "train/normal").mkdir(parents=True)
    ended = dry_run(file, "--set", f"datasets=['folder:{place}']", "--set", "normal_classes=all")
    assert ended.exit_code == 2
    assert f"{place}/train/normal has no image in it" in ended.stderr
    assert "novel" in ended.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.ephocs=3"], "training.ephocs is not a setting; did you mean epochs?"),
        (["training.epochs"], "--set training.epochs: expected key=value"),
        (["name.x=1"], "--set name.x=1: name is a value, not a group of settings"),
    ],
)
def test_a_mistake_in_an_override_ends_with_2(
    dry_run: Callable[..., Any], file: Path, overrides: list[str], message: str
) -> None:
    ended = dry_run(file, *(part for override in overrides for part in ("--set", override)))
    assert ended.exit_code == 2
    assert message in ended.stderr


def test_no_such_file(dry_run: Callable[..., Any], tmp_path: Path) -> None:
    ended = dry_run(tmp_path / "none.yaml")
    assert ended.exit_code == 2
    assert f"error: {tmp_path}/none.yaml: cannot be read (No such file" in ended.stderr


def test_a_store_that_cannot_be_written_is_said_before_anything_starts(
    kd: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    ended = kd("sweep", file, "--set", f"storage.store={tmp_path}/taken/store")
    assert ended.exit_code == 2
    assert f"the store {tmp_path}/taken/store cannot be written" in ended.stderr
    assert "a" not in experiments(tmp_path / "home/mlflow.db")
