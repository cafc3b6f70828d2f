"""A connection to MLflow: its database, its locks, and where its artifacts are."""

import contextlib
import logging
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.utils.file_utils import local_file_uri_to_path

from orchestrator.errors import UserError
from orchestrator.planning.keys import sha256
from orchestrator.planning.storage import sqlite_file

PACKAGE = "package"
"""The artifact folder of a student's run that holds its package."""


class TrackingError(UserError):
    """MLflow cannot be reached or used."""


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
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # One write waits a minute for a server that is started again, rather than four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    try:
        if file := sqlite_file(uri):
            _create_database(Path(file).absolute())
        is_server = uri.startswith(("http://", "https://"))
        # MLflow makes the tables of a database that has none.
        with (
            little_patience(),
            contextlib.nullcontext() if file or is_server else lock_of(uri),
        ):
            mlflow.set_tracking_uri(uri)
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    except Exception as error:
        said = said_by(error, uri)
        remedy = next(
            (remedy for sign, remedy in _REMEDIES.items() if sign in said),
            "start a server there, or set storage.tracking_uri or MLFLOW_TRACKING_URI to one",
        )
        raise TrackingError(
            f"no MLflow at {without_password(uri)} ({type(error).__name__}: {said[:200]}); {remedy}"
        ) from None
    return client


_REMEDIES = {
    "Invalid Host header": "start the server with --allowed-hosts and the host's name",
    "error code 401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN",
    "error code 403": "let this user of MLflow write",
}
"""by what an error says"""


def without_password(uri: str) -> str:
    """Return a URI as it may be shown."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def said_by(error: Exception, uri: str) -> str:
    """Return what an error says, in one line, as it may be shown.

    Args:
        error: raised by MLflow.
        uri: of the server or database, which the error may name.
    """
    return " ".join(str(error).split()).replace(uri, without_password(uri))


@contextlib.contextmanager
def little_patience() -> Iterator[None]:
    """Let what begins inside wait for a tracking server for seconds only."""
    few = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in few}
    os.environ.update(few)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _create_database(path: Path) -> None:
    """Create MLflow's database unless it is there.

    MLflow creates it in place, and two processes that do so at once break it for good. So it is
    created under a lock, beside its place, and then moved there whole.
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
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", artifacts_below(path.parent).as_uri())
        store.engine.dispose()
        os.replace(unfinished, path)


def lock_of(uri: str) -> FileLock:
    """Return the lock that a process holds while it finds or creates something in MLflow.

    Two processes of this machine so share one experiment, one run for each stage and one version
    for each student, where each would have created its own.
    """
    if file := sqlite_file(uri):
        return FileLock(f"{Path(file).absolute()}.lock")
    return FileLock(f"{tempfile.gettempdir()}/kd-mlflow-{os.getuid()}-{sha256(uri)[:16]}.lock")


def artifacts_below(root: Path) -> Path:
    """Return the folder of artifacts beside a SQLite database in ``root``."""
    return root / "mlartifacts"


def check_artifacts(client: MlflowClient, experiment: Experiment) -> None:
    """Check that the artifacts of a sweep are where MLflow's database says.

    MLflow's database has absolute paths. After its folder was moved, they lead nowhere; after it
    was copied, they lead to the original, which the copy's sweeps would change.

    Raises:
        TrackingError: they are not; the message says what to do.
    """
    file, location = sqlite_file(str(client.tracking_uri)), str(experiment.artifact_location)
    if not (file and location.startswith("file:")):
        return
    home, folder = Path(file).absolute().parent, Path(local_file_uri_to_path(location))
    own = artifacts_below(home) / folder.name
    is_elsewhere = folder.is_dir() and not own.exists()  # put apart from the database by somebody
    if folder.resolve() == own.resolve() or is_elsewhere:
        return
    before = folder.parents[1]
    raise TrackingError(
        f"MLflow's database in {home} has the artifacts of {experiment.name} in {folder}, "
        + ("which is not there" if not folder.is_dir() else "which is another folder's")
        + f". If {before} was moved to {home}, move it back, or make a link in its old place: "
        f"ln -s {shlex.quote(str(home))} {shlex.quote(str(before))}. A copy cannot be used beside "
        "its original: start from an empty folder (its store/ may be copied, and saves training)."
    )
