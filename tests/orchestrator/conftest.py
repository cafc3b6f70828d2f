"""Specs, plans and stored stages, cheap enough for every test."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contexts import context_in

from kd_models.data import ImageSet, Split, dataset_row, load
from kd_models.methods.base import PretrainedWeights
from kd_models.methods.vgg16_weights import read_teacher
from kd_models.world import World
from orchestrator.planning.pack import Pack
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.stage import Stage
from orchestrator.planning.storage import StorageSpec
from orchestrator.running.context import Row
from orchestrator.running.pack import run_pack
from orchestrator.store import open_store
from orchestrator.store.record import ScoredSplit, write_stage
from orchestrator.store.stages import Store

TINY = (1, 2, 4)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KD_HOME", "KD_VGG16_WEIGHTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On busy cores, threads that wait for each other make the smallest training take minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., SweepSpec]:
    """A sweep over one class of digits with networks of the smallest size, but for ``changes``."""

    def build(**changes: Any) -> SweepSpec:
        raw: dict[str, Any] = {
            "name": "tiny",
            "datasets": ["digits"],
            "baselines": [],
            "scores": ["paper"],
            "normal_classes": [0],
            "structures": ["kdgan-2"],
            "student_widths": [TINY],
            "teacher": {"widths": TINY},
            "training": {"epochs": 2, "batch_size": 32},
        }
        return SweepSpec.model_validate({**raw, **changes})

    return build


@pytest.fixture(scope="session")
def plan_of(spec_of: Callable[..., SweepSpec]) -> Callable[..., Plan]:
    """The plan of ``spec_of(**changes)``, every dataset's fingerprint being made up."""

    def build(spec: SweepSpec | None = None, **changes: Any) -> Plan:
        spec = spec or spec_of(**changes)
        facts = {
            name: DatasetFacts(dataset_row(name), f"fingerprint of {name}")
            for name in spec.datasets
        }
        return make_plan(spec, facts)

    return build


@pytest.fixture(scope="session")
def put() -> Callable[..., None]:
    """Stores a stage that was never trained, with the given novelty scores."""

    def write(store: Store, stage: Stage, normal: list[float], novel: list[float]) -> None:
        flags = np.array([False] * len(normal) + [True] * len(novel))
        scores = ScoredSplit(
            np.array(normal + novel, dtype=np.float64), flags, flags.astype(np.int64)
        )
        networks = {"student.generator": {"w": torch.arange(3.0)}}
        write_stage(store, stage, networks, scores, [{"epoch": 1, "seconds": 0.5}], lanes=1)

    return write


@pytest.fixture(scope="session")
def blob_of() -> Callable[[Store, str, str], Path]:
    """Finds where a store in a folder has a file of a stage: ``blob_of(store, key, name)``."""

    def find(store: Store, key: str, name: str) -> Path:
        root = Path(store.uri)
        manifest = json.loads((root / f"stages/{key[:2]}/{key}.json").read_bytes())
        digest = manifest["files"][name]["sha256"]
        return root / f"blobs/{digest[:2]}/{digest}"

    return find


@dataclass
class Recorder:
    """A session that keeps what it is told, and may die after an epoch."""

    stop_after: int | None = None
    reports: list[Sequence[Row]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def reported(self) -> list[Row]:
        return [row for rows in self.reports for row in rows]

    def report(self, stage: Stage, rows: Sequence[Row]) -> None:
        self.reports.append(rows)
        if rows[-1]["epoch"] == self.stop_after:
            raise Killed

    def say(self, line: str) -> None:
        self.said.append(line)


class Killed(Exception):
    """What a test raises in place of SIGKILL."""


@pytest.fixture(scope="session")
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture(scope="session")
def killed() -> type[Killed]:
    return Killed


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return load("digits", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def real_plan(digits: ImageSet, spec_of: Callable[..., SweepSpec]) -> Callable[..., Plan]:
    """The plan of ``spec_of(**changes)`` for the real digits."""

    def build(**changes: Any) -> Plan:
        facts = DatasetFacts(digits.row, digits.fingerprint)
        return make_plan(spec_of(**changes), {"digits": facts})

    return build


@pytest.fixture(scope="session")
def train(digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Trains every stage of a plan into a store."""

    def run(plan: Plan, store: Store) -> None:
        context = context_in(store, digits)
        session = Recorder()
        for stage in plan.stages.values():
            assert run_pack(Pack.of([stage]), context, World(), session) == {}

    return run


@dataclass(frozen=True)
class TrainedPlan:
    plan: Plan
    store: Store


@pytest.fixture(scope="session")
def trained(
    real_plan: Callable[..., Plan],
    train: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainedPlan:
    """A teacher, KDGAN-2 and P-KDGAN-23 on class 0 of the digits, trained for two epochs."""
    plan = real_plan(structures=["kdgan-2", "p-kdgan-23"])
    store = open_store(str(tmp_path_factory.mktemp("store")))
    train(plan, store)
    return TrainedPlan(plan, store)


@pytest.fixture(scope="session")
def without_seconds() -> Callable[[bytes | list[Row]], list[Row]]:
    """A history without what no two runs have in common."""

    def strip(history: bytes | list[Row]) -> list[Row]:
        rows = json.loads(history) if isinstance(history, bytes) else history
        return [{name: v for name, v in row.items() if name != "seconds"} for row in rows]

    return strip


@dataclass(frozen=True)
class Logged:
    """What ``trained`` is in MLflow."""

    plan: Plan
    store: Store
    storage: StorageSpec
    client: Any
    experiment_id: str

    @property
    def runs(self) -> dict[str, Any]:
        """Runs by stage key; the sweep's own under an empty key."""
        runs = self.client.search_runs([self.experiment_id])
        return {run.data.tags.get("stage_key", ""): run for run in runs}

    def run_of(self, structure: str) -> Any:
        (run,) = (r for r in self.runs.values() if r.data.tags.get("structure") == structure)
        return run


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database to copy, since making one takes a second."""
    from orchestrator.tracking.client import connect

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def storage(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StorageSpec]:
    """A place with an MLflow database of its own."""
    import mlflow

    root = tmp_path_factory.mktemp("root")
    shutil.copy(empty_database, root)
    before = mlflow.get_tracking_uri()
    yield StorageSpec(root=str(root), tracking_uri=f"sqlite:///{root}/mlflow.db")
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def finish_all() -> Callable[..., None]:
    """Logs every stage of a plan as a sweep does that finds them in the store."""
    from orchestrator.reporting.results import candidate_result, stage_result

    def finish(tracker: Any, plan: Plan, store: Store) -> None:
        for key, stage in plan.stages.items():
            candidate = plan.candidate_of.get(key)
            tracker.finish_stage(
                stage_result(stage, store, plan.spec.evaluation.protocol),
                candidate and candidate_result(plan, candidate, store),
            )

    return finish


@pytest.fixture(scope="session")
def log_all(
    trained: TrainedPlan,
    finish_all: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[StorageSpec], Logged]:
    """Logs ``trained`` to an MLflow of its own."""
    from orchestrator.tracking.client import connect
    from orchestrator.tracking.runs import Tracker

    def log(storage: StorageSpec) -> Logged:
        with pytest.MonkeyPatch.context() as patched:
            # Where a client that was told no place would leave things.
            patched.chdir(tmp_path_factory.mktemp("cwd"))
            # MLflow tells it to whatever comes later.
            patched.delenv("MLFLOW_TRACKING_URI", raising=False)
            tracker = Tracker(trained.plan, trained.store, storage)
            tracker.start_sweep()
            finish_all(tracker, trained.plan, trained.store)
            assert list(Path.cwd().iterdir()) == []
            client = connect(storage.mlflow_uri)
        return Logged(trained.plan, trained.store, storage, client, tracker.experiment_id)

    return log


@pytest.fixture(scope="session")
def logged(storage: StorageSpec, log_all: Callable[[StorageSpec], Logged]) -> Logged:
    """``trained``, logged to MLflow whole. Read only: every test sees the same."""
    return log_all(storage)


# ECA_MKDAD


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> PretrainedWeights:
    """VGG16 with random weights: nothing to download."""
    return read_teacher("random", tmp_path_factory.mktemp("nothing"))


@pytest.fixture(scope="session")
def cloth(planted: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """One category in MVTec's layout: 8 images to learn from, 2 good and 6 defective to test."""
    root = tmp_path_factory.mktemp("tree")
    planted(root, train=8, test=2, size=32)
    return load(f"mvtec:{root}", root)


@pytest.fixture(scope="session")
def few_digits(digits: ImageSet) -> ImageSet:
    """Eight images to learn 0 from, and the first 40 of the test split."""
    zeros = torch.nonzero(digits.train.labels == 0).flatten()[:8]
    return replace(
        digits,
        train=Split(digits.train.images[zeros], digits.train.labels[zeros]),
        test=Split(digits.test.images[:40], digits.test.labels[:40]),
    )


@pytest.fixture(scope="session")
def eca_plan(teacher: PretrainedWeights) -> Callable[..., Plan]:
    """The plan of a small sweep of ECA_MKDAD over a loaded dataset, but for ``changes``."""

    def build(images: ImageSet, **changes: Any) -> Plan:
        raw: dict[str, Any] = {
            "name": "tiny-eca",
            "method": "eca_mkdad",
            "datasets": [images.name],
            "baselines": [],
            "normal_classes": [next(iter(images.row.classes))],
            "image_size": 32,
            "training": {"epochs": 2, "batch_size": 4, "lr": 0.01},
            "teacher": {"weights": "random"},
        }
        facts = DatasetFacts(images.row, images.fingerprint, images.class_fingerprints)
        spec = SweepSpec.model_validate({**raw, **changes})
        return make_plan(spec, {images.name: facts}, teacher.sha256)

    return build


@pytest.fixture(scope="session")
def eca_trained(
    eca_plan: Callable[..., Plan],
    cloth: ImageSet,
    teacher: PretrainedWeights,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainedPlan:
    """ECA_MKDAD's student and the one without attention, taught about ``cloth``."""
    plan = eca_plan(cloth, placements=["eca", "mkdad"])
    store = open_store(str(tmp_path_factory.mktemp("eca-store")))
    context = context_in(store, cloth, read_pretrained=lambda: teacher.state)
    session = Recorder()
    for stage in plan.stages.values():
        assert run_pack(Pack.of([stage]), context, World(), session) == {}
    assert session.said == []
    return TrainedPlan(plan, store)
