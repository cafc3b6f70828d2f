"""An MLflow server on this machine, on loopback."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.services import Note, Service, answers, forget, start_service

_SECONDS_TO_START = 120
MLFLOW_SERVER = "the MLflow server"


@dataclass(frozen=True)
class MlflowServer:
    """A server that runs.

    Attributes:
        service: its process.
        uri: where it answers.
    """

    service: Service
    uri: str


def start_mlflow_server(
    folder: Path,
    port: int,
    database: str,
    artifacts: str,
    environment: Mapping[str, str],
    options: Sequence[str] = (),
    note: Note = forget,
) -> MlflowServer:
    """Start a server and wait until it answers.

    Args:
        folder: for its log, ``mlflow.log``.
        port: where it answers.
        database: the URI of the database it keeps runs in.
        artifacts: where it keeps artifacts, for its clients: a folder or s3://bucket/prefix.
        environment: what it needs to reach them, beside this process's own.
        options: more of ``mlflow server``.
        note: takes its process before it answers.

    Raises:
        ServiceError: it does not answer; the message has the end of its log.
    """
    service = start_service(
        MLFLOW_SERVER,
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--backend-store-uri", database, "--artifacts-destination", artifacts),
            *("--host", "127.0.0.1", "--port", str(port), *options),
        ],
        folder / "mlflow.log",
        # It would tell its makers that it runs, and start a second server for jobs of its own.
        {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **environment,
        },
        note=note,
    )
    server = MlflowServer(service, f"http://127.0.0.1:{port}")
    service.wait_until(lambda: answers(f"{server.uri}/health"), _SECONDS_TO_START)
    return server
