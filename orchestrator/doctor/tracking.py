"""MLflow: does it take what a sweep writes, and keep it?"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.doctor.findings import Finding, Look
from orchestrator.planning.storage import StorageSpec
from orchestrator.tracking.client import connect, little_patience, said_by, without_password

_EXPERIMENT = "kd-doctor"
_CHECK = "mlflow"
_OTHERWISE = "see what MLflow's server says in its log"


def look_at_mlflow(storage: StorageSpec, *, write: bool) -> list[Finding]:
    """Return whether MLflow answers.

    Args:
        storage: the sweep's.
        write: whether to write a run and an artifact to a server, too; the run is deleted again.
    """
    look, uri = Look(_CHECK), storage.mlflow_uri

    def work() -> Iterator[Finding]:
        client = connect(uri)
        if write and uri.startswith("http"):
            yield from _round_trip(look, client, uri)
        else:
            yield look.ok(f"{without_password(uri)} answers")

    return look.attempt(work, _OTHERWISE)


def _round_trip(look: Look, client: MlflowClient, uri: str) -> Iterator[Finding]:
    server = without_password(uri)
    with little_patience():
        try:
            run = client.create_run(_experiment(client)).info.run_id
        except MlflowException as error:
            yield look.fault(
                f"{server} answers, and takes no run ({_said(error, uri)})",
                "let this user of MLflow write",
            )
            return
        try:
            client.log_metric(run, "probe", 1.0)
            client.log_text(run, "kept", "probe.txt")
            with TemporaryDirectory() as folder:
                kept = Path(client.download_artifacts(run, "probe.txt", folder)).read_text("utf-8")
            if kept != "kept":
                yield look.fault(
                    f"{server} gives back other artifacts than were logged", _OTHERWISE
                )
                return
        except Exception as error:  # of the place behind it, each of its own kind
            yield look.fault(
                f"{server} takes runs, and no artifacts ({_said(error, uri)})",
                "let the server reach what its --artifacts-destination names: its credentials, its "
                "endpoint (AWS_ENDPOINT_URL or MLFLOW_S3_ENDPOINT_URL), its bucket",
            )
            return
        finally:
            with contextlib.suppress(MlflowException):
                client.delete_run(run)
    yield look.ok(f"{server}: a run and an artifact were written and read")


def _experiment(client: MlflowClient) -> str:
    """Return the id of the doctor's own experiment, which it finds, restores or makes."""
    found = client.get_experiment_by_name(_EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(_EXPERIMENT))
        except MlflowException:  # another doctor has just made it, or this user may not
            found = client.get_experiment_by_name(_EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _said(error: Exception, uri: str) -> str:
    return f"{type(error).__name__}: {said_by(error, uri)[:200]}"
