"""MLflow servers with one thing wrong each."""

import contextlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from loopback_server import served

from infra.local.mlflow_server import MlflowServer, start_mlflow_server
from infra.local.services import free_port
from orchestrator.doctor.findings import Finding
from orchestrator.doctor.tracking import look_at_mlflow
from orchestrator.planning.storage import StorageSpec

pytestmark = pytest.mark.slow

FindingsOf = Callable[..., list[Finding]]
PASSWORD = "a-long-password"
AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = kd
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server that asks for a password, and takes only its own address for a host."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    config = folder / "auth.ini"
    config.write_text(AUTH.format(folder=folder, password=PASSWORD))
    running = start_mlflow_server(
        folder,
        port,
        f"sqlite:///{folder}/runs.db",
        str(folder / "artifacts"),
        {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret"},
        ("--app-name", "basic-auth", "--allowed-hosts", f"127.0.0.1:{port}"),
    )
    yield running
    running.service.stop()


@pytest.fixture
def signed_in(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "kd")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return server


def look(uri: str, **settings: Any) -> list[Finding]:
    return look_at_mlflow(StorageSpec(tracking_uri=uri), write=True)


def test_a_server_that_is_well_keeps_no_run(signed_in: MlflowServer) -> None:
    from mlflow import MlflowClient

    (finding,) = look(signed_in.uri)
    assert finding.level == "ok"
    client = MlflowClient(signed_in.uri)
    experiment = client.get_experiment_by_name("kd-doctor")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []


def test_wrong_credentials(signed_in: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    (finding,) = look(signed_in.uri)
    assert finding.level == "fault"
    assert "401" in finding.what
    assert "MLFLOW_TRACKING_PASSWORD" in finding.fix


def test_a_password_in_the_address_is_told_to_nobody(server: MlflowServer) -> None:
    address = server.uri.replace("://", f"://kd:{PASSWORD}@")
    found = [*look(address), *look_at_mlflow(StorageSpec(tracking_uri=address), write=False)]
    assert [finding.level for finding in found] == ["ok", "ok"]
    assert all(finding.what.startswith("http://kd:***@127.0.0.1") for finding in found)


@contextlib.contextmanager
def server_that_answers(*answered: str) -> Iterator[str]:
    """Run a server for a while that answers some of MLflow's requests, and hangs up on others."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.partition("?")[0].endswith(answered):
                run = {"run_id": "a", "run_uuid": "a", "artifact_uri": "file:///nowhere"}
                experiment = {"experiment_id": "1", "lifecycle_stage": "active"}
                answer = {"experiment": experiment, "run": {"info": run, "data": {}}}
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with served(Handler) as address:
        yield address


@pytest.mark.parametrize(
    ("answered", "problem"),
    [
        (("search",), "takes no run"),
        (("search", "get-by-name", "create"), "takes runs, and no artifacts"),
    ],
)
def test_a_password_is_not_told_by_an_error(answered: tuple[str, ...], problem: str) -> None:
    with server_that_answers(*answered) as address:
        (finding,) = look(f"http://kd:{PASSWORD}@{address}")
    assert finding.level == "fault"
    assert problem in finding.what
    assert f"http://kd:***@{address}/api" in finding.what, "the error names the request"
    assert PASSWORD not in finding.what


def test_a_host_that_the_server_does_not_know(signed_in: MlflowServer) -> None:
    (finding,) = look(signed_in.uri.replace("127.0.0.1", "localhost"))
    assert finding.level == "fault"
    assert "--allowed-hosts" in finding.fix


def test_no_server(tmp_path: Path) -> None:
    (finding,) = look(f"http://127.0.0.1:{free_port()}")
    assert finding.level == "fault"
    assert "start a server there" in finding.fix


def test_a_server_that_cannot_keep_artifacts(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    running = start_mlflow_server(
        tmp_path,
        free_port(),
        f"sqlite:///{tmp_path}/runs.db",
        str(tmp_path / "artifacts"),
        {},
    )
    try:
        (finding,) = look(running.uri)
    finally:
        running.service.stop()
    assert finding.level == "fault"
    assert "takes runs, and no artifacts" in finding.what
    assert "--artifacts-destination" in finding.fix
