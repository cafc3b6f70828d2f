"""All that a sweep on a cluster needs, on this machine, on loopback, without containers.

SeaweedFS for S3; PostgreSQL (or SQLite) behind an MLflow server whose artifacts are in S3; a Ray
head with token authentication and two worker nodes, of which any may be killed.
"""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from filelock import FileLock, Timeout

from infra.local.loopback_ray import LOOPBACK
from infra.local.mlflow_server import MLFLOW_SERVER, start_mlflow_server
from infra.local.postgres import postgres_programs, start_postgres
from infra.local.ray_nodes import HEAD, start_head, start_worker
from infra.local.s3_server import S3_SERVER, start_s3_server
from infra.local.services import Service, ServiceError, answers, free_port
from orchestrator.console import Say
from orchestrator.process_identity import identity_of

BUCKET = "kd-sweeps"
_WORKERS = ("worker-1", "worker-2")
_NEEDED = (S3_SERVER, MLFLOW_SERVER, HEAD, *_WORKERS)
"""what every stack has, beside PostgreSQL"""
_SECONDS_FOR_JOBS = 60
_POSTGRES_PASSWORD = "KD_STACK_POSTGRES_PASSWORD"
_SMALL = ("--object-store-memory=300000000",)


class Stack:
    """The services of one folder, where their data stays when they are stopped.

    Attributes:
        folder: for data, logs and what is written down.
        credentials: the file of what clients need in their environment; for its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = folder / "credentials.env"
        self._running = folder / "running.json"

    def services(self) -> list[Service]:
        """Return what was started and not stopped, in the order it was started."""
        try:
            return [Service(**s) for s in json.loads(self._running.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []

    def environment(self) -> dict[str, str]:
        """Return what clients need in their environment; nothing before the first start."""
        try:
            lines = self.credentials.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def up(self, say: Say) -> None:
        """Start what does not run.

        Args:
            say: told of each service that serves.

        Raises:
            ServiceError: something does not start; what had been started is stopped again.
        """
        if identity_of(os.getpid()) is None:
            raise ServiceError("the stack needs Linux")
        with self._alone():
            started = self.services()
            running = {service.name for service in started if service.is_running()}
            # What ended by itself, and what was never noted since a start before was killed.
            every = dict.fromkeys([*_NEEDED, *(service.name for service in started)])
            missing = [name for name in every if name not in running]
            if not missing:
                say(f"it runs already; its addresses are in {self.credentials}")
                return
            if all(name in _WORKERS for name in missing):
                self._start_workers(missing, say)
                return
            if started:
                say(f"{', '.join(missing)} not running: all is started anew")
                self._stop(started)
            try:
                self._start(say)
            except BaseException:
                self._stop(self.services())
                raise

    def down(self, say: Say) -> None:
        """Stop what was started here, and nothing else."""
        with self._alone():
            services = self.services()
            self._stop(services)
            say(f"{len(services)} services stopped; their data stays in {self.folder}")

    def _start(self, say: Say) -> None:
        # Written down first: what is created with these credentials outlives a start that fails.
        environment = self._environment_now()
        self._write_down(environment)
        s3 = start_s3_server(
            self.folder / "s3",
            BUCKET,
            urlsplit(environment["AWS_ENDPOINT_URL"]).port or 0,
            (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]),
            self._note,
        )
        say(f"S3      {s3.endpoint_url}, bucket {BUCKET}")
        self._start_mlflow(environment, say)
        self._start_ray(environment)
        say(f"Ray     {environment['RAY_API_SERVER_ADDRESS']}, a head and {len(_WORKERS)} workers")

    def _environment_now(self) -> dict[str, str]:
        """Return addresses that are free now, with the credentials there are, or new ones."""
        before = self.environment()
        secret = {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            _POSTGRES_PASSWORD: secrets.token_hex(20),
        }
        return {
            "KD_HOME": f"s3://{BUCKET}/sweeps",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port(5000)}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port(8333)}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "RAY_ADDRESS": f"127.0.0.1:{free_port(6379)}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{free_port(8265)}",
            "RAY_AUTH_MODE": "token",
            **LOOPBACK,
            **{name: before.get(name, value) for name, value in secret.items()},
        }

    def _start_mlflow(self, environment: Mapping[str, str], say: Say) -> None:
        programs, own = postgres_programs(), dict(environment)
        sqlite, data = self.folder / "mlflow.db", self.folder / "postgres"
        if programs is None or (sqlite.exists() and not data.exists()):
            database = f"sqlite:///{sqlite}"
            why = "the runs there are are there" if programs else "PostgreSQL is not installed"
            say(f"SQLite  for MLflow's runs, since {why}")
        else:
            port, password = free_port(5432), environment[_POSTGRES_PASSWORD]
            postgres = start_postgres(programs, data, port, password, self._note)
            database = postgres.uri
            own |= postgres.environment
            say(f"Postgres on port {port}, for MLflow's runs")
        port = urlsplit(environment["MLFLOW_TRACKING_URI"]).port or 0
        artifacts = f"s3://{BUCKET}/mlflow"
        server = start_mlflow_server(self.folder, port, database, artifacts, own, note=self._note)
        say(f"MLflow  {server.uri}, artifacts in {artifacts}")

    def _start_ray(self, environment: Mapping[str, str]) -> None:
        dashboard = urlsplit(environment["RAY_API_SERVER_ADDRESS"])
        own = self._of_nodes(environment)
        web = (f"--dashboard-host={dashboard.hostname}", f"--dashboard-port={dashboard.port}")
        port = int(environment["RAY_ADDRESS"].rpartition(":")[2])
        head = start_head(self.folder, port, own, (*_SMALL, "--num-cpus=0", *web), self._note)
        token = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
        jobs = f"{dashboard.geturl()}/api/jobs/"
        head.wait_until(lambda: answers(jobs, token), _SECONDS_FOR_JOBS)
        for name in _WORKERS:
            self._start_worker(name, own)

    def _start_worker(self, name: str, own: Mapping[str, str]) -> None:
        cpus = max(1, (psutil.cpu_count(logical=False) or 1) // len(_WORKERS))
        options = (*_SMALL, f"--num-cpus={cpus}")
        start_worker(self.folder, name, own["RAY_ADDRESS"], own, options, self._note)

    def _start_workers(self, names: Sequence[str], say: Say) -> None:
        """Start workers that do not run, beside all that does."""
        ended = {service.name: service for service in self.services()}
        for name in names:
            if name in ended:
                ended[name].stop()  # what it has left
            self._start_worker(name, self._of_nodes(self.environment()))
            say(f"Ray     {name} is started again")

    @staticmethod
    def _of_nodes(environment: Mapping[str, str]) -> dict[str, str]:
        # Jobs call ``python``, which is to be this one.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**environment, "PATH": path, _POSTGRES_PASSWORD: ""}

    def _note(self, service: Service) -> None:
        """Write a service down, in the place of one of its name that ended."""
        others = [other for other in self.services() if other.name != service.name]
        every = [asdict(each) for each in (*others, service)]
        _write_whole(self._running, json.dumps(every, indent=1))

    def _write_down(self, environment: Mapping[str, str]) -> None:
        lines = [
            "# What clients need in their environment: set -a; . THIS FILE; set +a",
            *(f"{name}={value}" for name, value in environment.items()),
        ]
        _write_whole(self.credentials, "\n".join(lines) + "\n")

    def _stop(self, services: list[Service]) -> None:
        for service in reversed(services):
            service.stop()
        self._running.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # PostgreSQL runs as a user of its own where root starts it, and has to find its data.
        # Set afterwards, since root's umask would cut a mode that mkdir is given.
        missing = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        try:
            with FileLock(self.folder / "lock", timeout=0):
                yield
        except Timeout:
            raise ServiceError(
                f"another command starts or stops the stack in {self.folder}"
            ) from None


def _write_whole(path: Path, text: str) -> None:
    """Write a file that its owner alone may read: whole, or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
