"""MLflow: one experiment per sweep, one run for the sweep, below it one run for every stage.

A stage that is some candidate's student is that candidate's run; the others (teachers, first
steps that no candidate ends with) are shared stages. Runs are written from results and found again
by stage key, so logging twice logs once.
"""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
from safetensors.torch import save_file

from kd_models.methods.base import PretrainedWeights
from kd_models.package import Package
from kd_models.values import short_text
from kd_score.names import encodable, shortened, together
from orchestrator.packaging import package_of
from orchestrator.planning.keys import Encoded
from orchestrator.planning.plan import Plan
from orchestrator.planning.stage import Stage
from orchestrator.planning.storage import StorageSpec, is_s3, sqlite_file
from orchestrator.reporting.comparison import OVER_SEEDS, over_seeds
from orchestrator.reporting.figures import stage_figures
from orchestrator.reporting.page.write import write_page
from orchestrator.reporting.report import write_report
from orchestrator.reporting.results import CandidateResult, StageResult
from orchestrator.store.stages import Store
from orchestrator.tracking.client import (
    PACKAGE,
    TrackingError,
    artifacts_below,
    check_artifacts,
    connect,
    lock_of,
    teacher_artifact,
)
from orchestrator.tracking.views import experiment_tags

REPORT = "report"
"""the sweep's page and its figures, below its own run"""
_METRICS_A_CALL = 1000
_LONGEST_NAME, _LONGEST_TAG = 250, 5000
"""characters that MLflow's databases take"""


@dataclass
class _KnownRun:
    """A run as it was when it was last read.

    Attributes:
        run_id: its id.
        epoch: the last epoch logged.
        complete: the protocol that its final metrics were logged under, or empty.
        role: ``candidate`` or ``stage``.
        over_seeds: the means and spreads over seeds that it has.
        tags: its tags.
    """

    run_id: str
    epoch: int
    complete: str
    role: str
    over_seeds: Mapping[str, float]
    tags: Mapping[str, str]


class Tracker:
    """MLflow's runs of one sweep, kept up to date with its stages.

    Args:
        plan: of the sweep.
        store: where finished stages are.
        storage: with the place of MLflow.

    Raises:
        TrackingError: as :func:`connect`, or the experiment was deleted.
    """

    def __init__(self, plan: Plan, store: Store, storage: StorageSpec) -> None:
        self._plan, self._store = plan, store
        self._uri = storage.mlflow_uri
        self._client = connect(self._uri)
        self._lock = lock_of(storage.mlflow_uri)  # a sweep of this name may run beside this one
        self._runs: dict[str, _KnownRun] = {}
        with self._lock:
            self.experiment_id = self._experiment(storage)
            sweep_run: str | None = None
            for run in self._search():
                if run.data.tags.get("role") == "sweep":
                    sweep_run = str(run.info.run_id)
                else:
                    self._note(run)
            self._sweep_run = sweep_run or self._create_sweep_run()

    def start_sweep(self, teacher: PretrainedWeights | None = None) -> None:
        """Mark the sweep's own run as running, and keep the settings it runs with.

        Args:
            teacher: the pretrained teacher, if students need one to be deployed. It is kept here
                once: beside every student it would be most of what a sweep stores.
        """
        if teacher is not None:
            self._keep_teacher(teacher)
        self._client.update_run(self._sweep_run, status="RUNNING")
        self._arrange_page()
        settings = self._plan.spec.as_written()
        self._client.log_dict(self._sweep_run, settings, "sweep.yaml")

    def _arrange_page(self) -> None:
        """Let MLflow's page of the experiment say what there is to see, and show it."""
        there = self._client.get_experiment(self.experiment_id).tags
        for name, text in experiment_tags(self._plan, self._sweep_run).items():
            if there.get(name) != text:
                self._client.set_experiment_tag(self.experiment_id, name, text)

    def answers(self) -> bool:
        """Return whether MLflow can be reached."""
        try:
            connect(self._uri)
        except TrackingError:
            return False
        return True

    def log_epochs(self, stage: Stage, rows: Iterable[Mapping[str, float]]) -> None:
        """Log every term and AUROC of epochs that were not logged before.

        Epochs are logged in order and without gaps. If a report was lost with its worker, its
        epoch is logged when the worker has resumed, or at the latest when the stage is finished;
        later epochs wait for it.
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
            # `epoch` last, so that its presence means the row is complete.
            for name in sorted(row, key=lambda name: name == "epoch")
        ]
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self._client.log_batch(run.run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def finish_stage(self, result: StageResult, candidate: CandidateResult | None) -> None:
        """Log everything about a stored stage, unless that was done.

        Args:
            result: of the stage.
            candidate: the result of the candidate whose student the stage is, if any.
        """
        stage, found = result.stage, result.evaluation
        final: dict[str, float] = {
            "threshold": found.threshold,
            "gmean": found.gmean,
            "fpr": found.fpr,
            "fnr": found.fnr,
            **result.cost.as_metrics(),
        }
        if candidate is not None and candidate.teacher_auroc is not None:
            final["teacher_auroc"] = candidate.teacher_auroc
            final["difference_to_teacher"] = found.auroc - candidate.teacher_auroc
        if candidate is not None and candidate.teacher_val_auroc is not None:
            final["teacher_val_auroc"] = candidate.teacher_val_auroc
        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, stage.epochs) for name, value in final.items()]
        tags = self._tags(stage)
        names = together(tags["dataset"], tags["normal_class"])
        figures = stage_figures(result, f"{names} {self._words(stage)}")
        ended = {
            "complete": self._plan.spec.evaluation.protocol,
            "status": "finished",
            "reason": "",
        }
        with self._lock:
            run = self._run(stage)
            if self._has_all(run, stage):
                return
            self._log_epochs(run, result.history)
            if run.role == "candidate" and candidate is None:
                # Another sweep of this name logs the rest: it alone has the candidate's axes.
                self._client.set_terminated(run.run_id, "FINISHED")
                return
            self._client.log_batch(run.run_id, metrics=metrics, params=list(_params(stage)))
            for name, figure in figures.items():
                self._client.log_figure(run.run_id, figure, name)
            if candidate is not None:
                self._log_package(
                    run.run_id, package_of(self._plan.spec, candidate.candidate, result)
                )
            self._client.log_batch(run.run_id, tags=[RunTag(k, v) for k, v in ended.items()])
            self._client.set_terminated(run.run_id, "FINISHED")
            run.complete = ended["complete"]

    def is_complete(self, stage: Stage) -> bool:
        """Return whether the run of a stage is known to have all there is to log."""
        run = self._runs.get(stage.key)
        return run is not None and self._has_all(run, stage)

    def _is_done(self, run: _KnownRun, stage: Stage) -> bool:
        """Return whether another sweep of this name has trained and logged a stage meanwhile."""
        return bool(run.complete) and self._store.has(stage.key)

    def _has_all(self, run: _KnownRun, stage: Stage) -> bool:
        """Return whether a run has all there is to log for the stage's role in this sweep."""
        is_candidate = stage.key in self._plan.candidate_of
        return run.complete == self._plan.spec.evaluation.protocol and (
            not is_candidate or (run.role == "candidate" and not self._outdated(run, stage))
        )

    def _outdated(self, run: _KnownRun, stage: Stage) -> dict[str, str]:
        """Return the tags that a candidate's run should have and has not, or has otherwise.

        A sweep that has grown or shrunk may see a student as a baseline, or under a label.
        """
        wanted = self._tags(stage)
        return {name: text for name, text in wanted.items() if run.tags.get(name) != text}

    def fail_stage(self, stage: Stage, status: str, reason: str) -> None:
        """Mark a stage that was not trained.

        Args:
            stage: the stage.
            status: ``failed``, ``skipped`` (an earlier one failed) or ``interrupted``.
            reason: why.
        """
        tags = [RunTag("status", status), RunTag("reason", encodable(reason)[:_LONGEST_TAG])]
        with self._lock:
            run = self._run(stage)
            if self._is_done(run, stage):
                return
            self._client.log_batch(run.run_id, tags=tags)
            self._client.set_terminated(run.run_id, "FAILED" if status == "failed" else "KILLED")

    def finish_sweep(self, results: Sequence[CandidateResult]) -> None:
        """Close the sweep's own run with its report."""
        statuses: list[str] = [result.status for result in results]
        now = int(time.time() * 1000)
        kinds = ("finished", "failed", "skipped", "unfinished")
        counts = {status: statuses.count(status) for status in kinds}
        self._client.log_batch(
            self._sweep_run,
            metrics=[Metric(f"candidates_{s}", float(n), now, 0) for s, n in counts.items()],
        )
        self._log_over_seeds(results)
        with tempfile.TemporaryDirectory() as folder:
            write_report(results, self._plan.spec.evaluation.protocol, Path(folder))
            self._client.log_artifacts(self._sweep_run, folder)
        with tempfile.TemporaryDirectory() as folder:
            write_page(self._plan, results, self._store, Path(folder))
            self._client.log_artifacts(self._sweep_run, folder, REPORT)
        succeeded = counts["finished"] == len(statuses)
        self._client.set_terminated(self._sweep_run, "FINISHED" if succeeded else "FAILED")

    def _log_over_seeds(self, results: Sequence[CandidateResult]) -> None:
        """Log to each candidate's run the mean and spread of its configuration on its task."""
        now = int(time.time() * 1000)
        for result, found in over_seeds(results):
            run = self._runs.get(result.candidate.key)
            if run is None:
                continue
            # A sweep with fewer seeds than before has no spread; MLflow removes no metric.
            wanted = {**dict.fromkeys(run.over_seeds, math.nan), **found}
            changed = {
                name: value
                for name, value in wanted.items()
                if not _same(run.over_seeds.get(name), value)
            }
            metrics = [Metric(name, value, now, 0) for name, value in changed.items()]
            if metrics:
                self._client.log_batch(run.run_id, metrics=metrics)
                run.over_seeds = wanted

    def interrupt_sweep(self) -> None:
        """Close the sweep's own run without results."""
        self._client.set_terminated(self._sweep_run, "KILLED")

    def _keep_teacher(self, teacher: PretrainedWeights) -> None:
        name = teacher_artifact(teacher.sha256)
        folder = name.rpartition("/")[0]
        if any(file.path == name for file in self._client.list_artifacts(self._sweep_run, folder)):
            return
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / Path(name).name
            save_file(dict(teacher.state), file)
            self._client.log_artifact(self._sweep_run, str(file), folder)

    def _log_package(self, run_id: str, package: Package) -> None:
        with tempfile.TemporaryDirectory() as folder:
            package.save(Path(folder))
            self._client.log_artifacts(run_id, folder, PACKAGE)

    def _experiment(self, storage: StorageSpec) -> str:
        name = self._plan.spec.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = None
            if sqlite_file(storage.mlflow_uri):
                if is_s3(storage.root):
                    location = f"{storage.root_uri}/mlartifacts/{name}"
                else:
                    folder = artifacts_below(storage.local_path) / name
                    # Made at once: if it is missing later, it was moved.
                    folder.mkdir(parents=True, exist_ok=True)
                    location = folder.as_uri()
            return str(self._client.create_experiment(name, artifact_location=location))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"the MLflow experiment {name} was deleted; restore it, or give the sweep "
                "another name"
            )
        check_artifacts(self._client, experiment)
        return str(experiment.experiment_id)

    def _search(self, filter_string: str = "") -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], filter_string=filter_string, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _note(self, run: Run) -> None:
        """Take note of a stage's run."""
        if key := run.data.tags.get("stage_key"):
            self._runs[key] = _known(run)

    def _create_sweep_run(self) -> str:
        spec = self._plan.spec
        methods = ", ".join(dict.fromkeys(method.method for method in spec.methods))
        run: Run = self._client.create_run(
            self.experiment_id,
            run_name=spec.name,
            tags={"role": "sweep", "sweep": spec.name, "methods": methods},
        )
        return str(run.info.run_id)

    def _run(self, stage: Stage) -> _KnownRun:
        """Find or create a stage's run, under the lock.

        It is read anew, since another sweep of this name may have changed it.
        """
        tags = self._tags(stage)
        if known := self._runs.get(stage.key):
            self._runs[stage.key] = _known(self._client.get_run(known.run_id))
        else:
            for run in self._search(f"tags.stage_key = '{stage.key}'"):
                self._note(run)
            if stage.key not in self._runs:
                run_id = self._create_run(stage, tags)
                self._runs[stage.key] = _KnownRun(run_id, 0, "", tags["role"], {}, tags)
        known = self._runs[stage.key]
        if known.role == "stage" and tags["role"] == "candidate":
            # The sweep has grown: a stage that was only a step on the way is a candidate's student
            # now, and its run is not complete before it has a package.
            grown = {**tags, "complete": ""}
            self._client.log_batch(known.run_id, tags=[RunTag(k, v) for k, v in grown.items()])
            known.role, known.complete, known.tags = "candidate", "", grown
        elif tags["role"] == "candidate" and (outdated := self._outdated(known, stage)):
            self._client.log_batch(known.run_id, tags=[RunTag(k, v) for k, v in outdated.items()])
            known.tags = {**known.tags, **outdated}
        return known

    def reopen(self, stage: Stage) -> None:
        """Mark a stage's run as running, whatever it was: the stage is about to train (again).

        Nothing is changed if another sweep of this name has trained the stage meanwhile.
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
        candidate = self._plan.candidate_of.get(stage.key)
        axes = candidate.axes if candidate else {stage.step.axis: stage.step.name}
        return {
            "mlflow.parentRunId": self._sweep_run,
            "role": "candidate" if candidate else "stage",
            "sweep": self._plan.spec.name,
            "method": stage.method,
            "dataset": shortened(stage.dataset, _LONGEST_TAG),
            "normal_class": stage.normal_class,
            **{name: short_text(value) for name, value in axes.items()},
            "student": candidate.configuration.name if candidate else stage.step.name,
            "configuration": self._words(stage),
            "kind": candidate.configuration.kind if candidate else stage.kind,
            "step": stage.step.name,
            "seed": str(candidate.seed if candidate else stage.seed),
            "stage_key": stage.key,
            "parent_keys": ",".join(stage.parents),
        }

    def _words(self, stage: Stage) -> str:
        """Return what tells a stage's student from the others, or the name of its step."""
        candidate = self._plan.candidate_of.get(stage.key)
        if candidate is None:
            return stage.step.name
        return self._plan.telling.words(candidate.configuration)

    def _create_run(self, stage: Stage, tags: dict[str, str]) -> str:
        words = self._words(stage).replace(" ", "-")
        name = f"{stage.dataset}-{stage.normal_class}-{words}-seed{tags['seed']}"
        run = self._client.create_run(
            self.experiment_id, run_name=shortened(name, _LONGEST_NAME), tags=tags
        )
        meta = MetaDataset(  # type: ignore[abstract]
            source=CodeDatasetSource(
                {"mlflow.source.name": "kd_models.data", "dataset": stage.dataset}
            ),
            name=shortened(stage.dataset, _LONGEST_NAME),
            digest=stage.fingerprint[:36],
        )
        self._client.log_inputs(run.info.run_id, [DatasetInput(meta._to_mlflow_entity())])
        return str(run.info.run_id)


def _same(known: float | None, value: float) -> bool:
    return known == value or (known is not None and math.isnan(known) and math.isnan(value))


def _known(run: Run) -> _KnownRun:
    tags, metrics = run.data.tags, run.data.metrics
    epoch = int(metrics.get("epoch", 0))
    over_seeds = {name: metrics[name] for name in OVER_SEEDS if name in metrics}
    complete = tags.get("complete", "")
    return _KnownRun(run.info.run_id, epoch, complete, tags["role"], over_seeds, dict(tags))


def _params(stage: Stage) -> Iterator[Param]:
    """Yield a stage's settings, flattened."""

    def flatten(prefix: str, value: Any) -> Iterator[Param]:
        if isinstance(value, Encoded):
            value = value.value
        if isinstance(value, dict):
            for name, part in value.items():
                yield from flatten(f"{prefix}.{name}" if prefix else name, part)
        elif isinstance(value, list):
            yield Param(prefix, "-".join(map(str, value)))
        elif value is not None:
            yield Param(prefix, shortened(str(value), _LONGEST_TAG))

    # The dataset's whole name is added, since it is no part of a stage's identity.
    yield from flatten("", {**stage.identity["config"], "dataset": stage.dataset})
    yield Param("fingerprint", stage.fingerprint)
