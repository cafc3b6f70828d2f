"""MLflow: one experiment per sweep, one run for the sweep, below it one run for every stage.

A stage that is some candidate's student is that candidate's run; the others (teachers, first
steps that no candidate ends with) are shared stages. Everything is logged by one process and found
again by stage key, so logging twice logs once.
"""

import contextlib
import logging
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, Experiment, Metric, Param, Run, RunTag
from mlflow.utils.file_utils import local_file_uri_to_path
from safetensors.torch import save_file

from kd_models.names import encodable, shortened, together
from kd_models.networks.vgg_weights import TeacherWeights
from kd_models.package import Measured, Package, PackageConfig, Preprocessing
from kd_models.values import spell
from orchestrator.errors import UserError
from orchestrator.figures import heat_map_figure, layer_figure, roc_figure, score_figure
from orchestrator.keys import sha256
from orchestrator.plan import Plan, Stage
from orchestrator.record import (
    History,
    is_trained,
    read_history,
    read_networks,
    read_scores,
    read_shown,
)
from orchestrator.report import write_report
from orchestrator.results import CandidateResult, cost, evaluation_of
from orchestrator.spec import StorageSpec, sqlite_file
from orchestrator.store import Store

PACKAGE = "package"
_METRICS_A_CALL = 1000
_LONGEST_NAME, _LONGEST_TAG = 250, 5000
"""characters that MLflow's databases take"""


class TrackingError(UserError):
    """MLflow cannot be reached or used."""


@dataclass
class _KnownRun:
    run_id: str
    epoch: int
    """last epoch logged"""
    complete: str
    """the protocol its final metrics were logged under, or empty"""
    role: str
    """``candidate`` or ``stage``"""


def teacher_artifact(sha256: str) -> str:
    """Return where in a sweep's own run the weights of a pretrained teacher are."""
    return f"teachers/{sha256}.safetensors"


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking server or database at ``uri``.

    Raises:
        TrackingError: nothing answers there.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in patience}
    os.environ.update(patience)
    try:
        if file := sqlite_file(uri):
            _create_database(Path(file).absolute())
        is_server = uri.startswith(("http://", "https://"))
        # MLflow makes the tables of a database that has none.
        with contextlib.nullcontext() if file or is_server else lock_of(uri):
            mlflow.set_tracking_uri(uri)
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    except Exception as error:
        raise TrackingError(
            f"no MLflow at {uri} ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
            "start a server there, or set storage.tracking_uri or MLFLOW_TRACKING_URI to one"
        ) from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return client


def _create_database(path: Path) -> None:
    """Create MLflow's database unless it is there.

    MLflow does it in place, and two processes that do so at once break it for good. So it is
    made under a lock, beside its place, and there whole or not at all.
    """

    def is_there() -> bool:
        return path.exists() and path.stat().st_size > 0

    if is_there():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(f"sqlite:///{path}"):
        if is_there():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.unlink(missing_ok=True)  # of a process that died
        # Also where the artifacts of MLflow's own Default experiment, which we do not use, go.
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", _artifacts(path.parent).as_uri())
        store.engine.dispose()
        os.replace(unfinished, path)


def lock_of(uri: str) -> FileLock:
    """Return the lock under which processes of this machine create what there must be one of.

    Of an experiment, a stage's run or a student's version each would make its own.
    """
    if file := sqlite_file(uri):
        return FileLock(f"{Path(file).absolute()}.lock")
    return FileLock(f"{tempfile.gettempdir()}/kd-mlflow-{os.getuid()}-{sha256(uri)[:16]}.lock")


def _artifacts(root: Path) -> Path:
    return root / "mlartifacts"


def check_artifacts(client: MlflowClient, experiment: Experiment) -> None:
    """Check that the artifacts of a sweep are where MLflow's database says.

    MLflow keeps whole paths, so a folder that was moved, or copied, is still said to be where it
    was: nothing would be found there, or what belongs to another would be written.

    Raises:
        TrackingError: they are not; the message says what to do.
    """
    file, location = sqlite_file(str(client.tracking_uri)), str(experiment.artifact_location)
    if not (file and location.startswith("file:")):
        return
    home, folder = Path(file).absolute().parent, Path(local_file_uri_to_path(location))
    own = _artifacts(home) / folder.name
    elsewhere = folder.is_dir() and not own.exists()  # a database apart from what it tells of
    if folder.resolve() == own.resolve() or elsewhere:
        return
    before = folder.parents[1]
    raise TrackingError(
        f"MLflow's database in {home} has the artifacts of {experiment.name} in {folder}, "
        + ("which is not there" if not folder.is_dir() else "which is another folder's")
        + f". If {before} was moved to {home}, move it back, or make a link in its old place: "
        f"ln -s {shlex.quote(str(home))} {shlex.quote(str(before))}. A copy cannot be used beside "
        "its original: start from an empty folder (its store/ may be copied, and saves training)."
    )


class Tracker:
    """Brings MLflow's runs of one sweep to what its stages are.

    Raises:
        TrackingError: as :func:`connect`, or the experiment was deleted.
    """

    def __init__(self, plan: Plan, store: Store, storage: StorageSpec) -> None:
        self._plan, self._store = plan, store
        self._client = connect(storage.mlflow_uri)
        self._lock = lock_of(storage.mlflow_uri)  # a sweep of this name may run beside this one
        self._runs: dict[str, _KnownRun] = {}
        with self._lock:
            self.experiment_id = self._experiment(storage)
            sweep_run = self._find_runs()
            self._sweep_run = sweep_run or self._create_sweep_run()

    def start_sweep(self, teacher: TeacherWeights | None = None) -> None:
        """Mark the sweep's own run as running, and keep the settings it runs with.

        Args:
            teacher: pretrained, without which no student can be deployed. Kept here once: beside
                every student it would be most of what a sweep stores.
        """
        if teacher is not None:
            self._keep_teacher(teacher)
        self._client.update_run(self._sweep_run, status="RUNNING")
        settings = self._plan.spec.model_dump(mode="json")
        self._client.log_dict(self._sweep_run, settings, "sweep.yaml")

    def log_epochs(self, stage: Stage, rows: Iterable[Mapping[str, float]]) -> None:
        """Log every term and AUROC of epochs that were not logged before.

        Without gaps: news that died with a worker are made up for before anything after them is
        logged, when it has resumed, or at the latest when the stage is finished.
        """
        with self._lock:
            self._log_epochs(self._run(stage), rows)

    def _log_epochs(self, run: _KnownRun, rows: Iterable[Mapping[str, float]]) -> None:
        fresh: list[Mapping[str, float]] = []
        for row in rows:
            if row["epoch"] == run.epoch + len(fresh) + 1:
                fresh.append(row)
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, row[name], now, int(row["epoch"]))
            for row in fresh
            # The epoch last: what it says was logged, was.
            for name in sorted(row, key=lambda name: name == "epoch")
        ]
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self._client.log_batch(run.run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def finish_stage(self, stage: Stage, result: CandidateResult | None) -> None:
        """Log a stored stage whole, unless it was.

        Args:
            result: the candidate whose student the stage is, if any.
        """
        protocol = self._plan.spec.evaluation.protocol
        if self._is_complete(self._runs.get(stage.key), stage):
            return
        history: History = read_history(self._store, stage)
        scores = read_scores(self._store, stage)
        evaluation = evaluation_of(scores, protocol)
        final: dict[str, float] = {
            "threshold": evaluation.threshold,
            "gmean": evaluation.gmean,
            "fpr": evaluation.fpr,
            "fnr": evaluation.fnr,
            **asdict(cost(stage)),
        }
        if result is not None and result.teacher_auroc is not None:
            final["teacher_auroc"] = result.teacher_auroc
            final["difference_to_teacher"] = evaluation.auroc - result.teacher_auroc
        now, last = int(time.time() * 1000), stage.config.recipe.epochs
        metrics = [Metric(name, float(value), now, last) for name, value in final.items()]
        tags = self._tags(stage)
        names = together(tags["dataset"], tags["normal_class"])
        title = f"{names} {tags[stage.config.step.axis]}"
        figures = {
            "roc.png": roc_figure(scores, title),
            "scores.png": score_figure(scores, evaluation.threshold, title),
        }
        if shown := read_shown(self._store, stage):
            figures["heatmaps.png"] = heat_map_figure(shown, evaluation.threshold, title)
            figures["layers.png"] = layer_figure(shown, title)
        ended = {"complete": protocol, "status": "finished", "reason": ""}
        with self._lock:
            run = self._run(stage)
            if self._is_complete(run, stage):
                return
            self._log_epochs(run, history)
            if run.role == "candidate" and result is None:
                # Of another sweep of this name, which logs the rest: it alone has its axes.
                self._client.set_terminated(run.run_id, "FINISHED")
                return
            self._client.log_batch(run.run_id, metrics=metrics, params=list(_params(stage)))
            for name, figure in figures.items():
                self._client.log_figure(run.run_id, figure, name)
            if result is not None:
                self._log_package(run.run_id, stage, result)
            self._client.log_batch(run.run_id, tags=[RunTag(k, v) for k, v in ended.items()])
            self._client.set_terminated(run.run_id, "FINISHED")
            run.complete = protocol

    def _is_done(self, run: _KnownRun, stage: Stage) -> bool:
        """Whether another sweep of this name has trained and logged a stage meanwhile."""
        return bool(run.complete) and is_trained(self._store, stage)

    def _is_complete(self, run: _KnownRun | None, stage: Stage) -> bool:
        """Whether a run has all there is to log, and as what the stage is in this sweep."""
        return (
            run is not None
            and run.complete == self._plan.spec.evaluation.protocol
            and (run.role == "candidate" or stage.key not in self._plan.candidate_of)
        )

    def fail_stage(self, stage: Stage, status: str, reason: str) -> None:
        """Mark a stage as ``failed``, or ``skipped`` for an earlier one's failure."""
        tags = [RunTag("status", status), RunTag("reason", encodable(reason)[:_LONGEST_TAG])]
        with self._lock:
            run = self._run(stage)
            if self._is_done(run, stage):
                return
            self._client.log_batch(run.run_id, tags=tags)
            self._client.set_terminated(run.run_id, "FAILED" if status == "failed" else "KILLED")

    def finish_sweep(self, results: list[CandidateResult]) -> None:
        """Close the sweep's own run with its report."""
        statuses = [result.status for result in results]
        now = int(time.time() * 1000)
        kinds = ("finished", "failed", "skipped", "unfinished")
        counts = {status: statuses.count(status) for status in kinds}
        self._client.log_batch(
            self._sweep_run,
            metrics=[Metric(f"candidates_{s}", float(n), now, 0) for s, n in counts.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            write_report(results, self._plan.spec.evaluation.protocol, Path(folder))
            self._client.log_artifacts(self._sweep_run, folder)
        succeeded = counts["finished"] == len(statuses)
        self._client.set_terminated(self._sweep_run, "FINISHED" if succeeded else "FAILED")

    def _keep_teacher(self, teacher: TeacherWeights) -> None:
        name = teacher_artifact(teacher.sha256)
        folder = name.rpartition("/")[0]
        if any(file.path == name for file in self._client.list_artifacts(self._sweep_run, folder)):
            return
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / Path(name).name
            save_file(dict(teacher.state), file)
            self._client.log_artifact(self._sweep_run, str(file), folder)

    def _log_package(self, run_id: str, stage: Stage, result: CandidateResult) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._package(stage, result).save(Path(folder))
            self._client.log_artifacts(run_id, folder, PACKAGE)

    def _package(self, stage: Stage, result: CandidateResult) -> Package:
        config, detector = stage.config, stage.config.step.detector
        assert result.evaluation is not None
        assert result.cost is not None
        evaluation = result.evaluation
        return Package(
            PackageConfig(
                axes=dict(result.candidate.axes),
                dataset=config.dataset,
                normal_class=config.normal_class,
                normal_class_name=result.candidate.normal_class_name,
                seed=config.seed,
                stage_key=stage.key,
                detector=detector,
                preprocessing=Preprocessing(
                    image_size=config.image_size,
                    channels=detector.channels,
                    depth=result.candidate.depth,
                ),
                threshold=evaluation.threshold,
                measured=Measured(
                    protocol=self._plan.spec.evaluation.protocol,
                    auroc=evaluation.auroc,
                    val_auroc=evaluation.val_auroc,
                    test_auroc=evaluation.test_auroc,
                    gmean=evaluation.gmean,
                    fpr=evaluation.fpr,
                    fnr=evaluation.fnr,
                    **asdict(result.cost),
                ),
            ),
            read_networks(self._store, stage.key)[config.step.scored],
        )

    def _experiment(self, storage: StorageSpec) -> str:
        name = self._plan.spec.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = None
            if sqlite_file(storage.mlflow_uri):
                folder = _artifacts(storage.root_path) / name
                folder.mkdir(parents=True, exist_ok=True)  # one that is missing was moved
                location = folder.as_uri()
            return str(self._client.create_experiment(name, artifact_location=location))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"the MLflow experiment {name} was deleted; restore it, or give the sweep "
                "another name"
            )
        check_artifacts(self._client, experiment)
        return str(experiment.experiment_id)

    def _find_runs(self, filter_string: str = "") -> str | None:
        """Take note of every run there is, or of some; return the sweep's own."""
        sweep_run, token = None, None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], filter_string=filter_string, page_token=token
            )
            for run in page:
                tags = run.data.tags
                if tags.get("role") == "sweep":
                    sweep_run = str(run.info.run_id)
                elif key := tags.get("stage_key"):
                    self._runs[key] = _known(run)
            token = page.token
            if not token:
                return sweep_run

    def _create_sweep_run(self) -> str:
        spec = self._plan.spec
        run: Run = self._client.create_run(
            self.experiment_id,
            run_name=spec.name,
            tags={"role": "sweep", "sweep": spec.name, "method": spec.method},
        )
        return str(run.info.run_id)

    def _run(self, stage: Stage) -> _KnownRun:
        """Find or create a stage's run, under the lock: what it is now, another sweep of this name
        may have made of it."""
        tags = self._tags(stage)
        if known := self._runs.get(stage.key):
            self._runs[stage.key] = _known(self._client.get_run(known.run_id))
        else:
            self._find_runs(f"tags.stage_key = '{stage.key}'")
            if stage.key not in self._runs:
                run_id = self._create_run(stage, tags)
                self._runs[stage.key] = _KnownRun(run_id, 0, "", tags["role"])
        known = self._runs[stage.key]
        if known.role == "stage" and tags["role"] == "candidate":
            # The sweep has grown: what was only a step on the way is somebody's student now, and
            # not complete before it has a package.
            grown = {**tags, "complete": ""}
            self._client.log_batch(known.run_id, tags=[RunTag(k, v) for k, v in grown.items()])
            known.role, known.complete = "candidate", ""
        return known

    def reopen(self, stage: Stage) -> None:
        """A stage is about to train (again): its run is running, whatever it was.

        Unless another sweep of this name has trained it meanwhile.
        """
        begun = {"complete": "", "status": "running", "reason": ""}
        with self._lock:
            run = self._run(stage)
            if self._is_done(run, stage):
                return
            self._client.log_batch(run.run_id, tags=[RunTag(k, v) for k, v in begun.items()])
            self._client.update_run(run.run_id, status="RUNNING")
            run.complete = ""

    def _tags(self, stage: Stage) -> dict[str, str]:
        config = stage.config
        candidate = self._plan.candidate_of.get(stage.key)
        axes = candidate.axes if candidate else {config.step.axis: config.step.name}
        return {
            "mlflow.parentRunId": self._sweep_run,
            "role": "candidate" if candidate else "stage",
            "sweep": self._plan.spec.name,
            "method": config.method,
            "dataset": shortened(config.dataset, _LONGEST_TAG),
            "normal_class": config.normal_class,
            **{name: spell(value) for name, value in axes.items()},
            "student": " ".join(map(spell, axes.values())),
            "step": config.step.name,
            "seed": str(config.seed),
            "stage_key": stage.key,
            "parent_keys": ",".join(stage.parents),
        }

    def _create_run(self, stage: Stage, tags: dict[str, str]) -> str:
        config = stage.config
        variant = tags[config.step.axis]
        name = f"{config.dataset}-{config.normal_class}-{variant}-seed{config.seed}"
        run = self._client.create_run(
            self.experiment_id, run_name=shortened(name, _LONGEST_NAME), tags=tags
        )
        meta = MetaDataset(  # type: ignore[abstract]
            source=CodeDatasetSource(
                {"mlflow.source.name": "kd_models.data", "dataset": config.dataset}
            ),
            name=shortened(config.dataset, _LONGEST_NAME),
            digest=stage.fingerprint[:36],
        )
        self._client.log_inputs(run.info.run_id, [DatasetInput(meta._to_mlflow_entity())])
        return str(run.info.run_id)


def _known(run: Run) -> _KnownRun:
    tags, metrics = run.data.tags, run.data.metrics
    # A run logged before costs had a latency is brought up to date.
    complete = tags.get("complete", "") if "latency_ms" in metrics else ""
    return _KnownRun(run.info.run_id, int(metrics.get("epoch", 0)), complete, tags["role"])


def _params(stage: Stage) -> Iterator[Param]:
    """Flatten a stage's settings."""

    def flatten(prefix: str, value: Any) -> Iterator[Param]:
        if isinstance(value, dict):
            for name, part in value.items():
                yield from flatten(f"{prefix}.{name}" if prefix else name, part)
        elif isinstance(value, list):
            yield Param(prefix, "-".join(map(str, value)))
        elif value is not None:
            yield Param(prefix, shortened(str(value), _LONGEST_TAG))

    yield from flatten("", stage.config.model_dump(mode="json"))
    yield Param("fingerprint", stage.fingerprint)
