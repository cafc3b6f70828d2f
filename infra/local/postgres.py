"""A PostgreSQL server on this machine, on loopback, for MLflow's database."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.services import Note, Service, ServiceError, forget, start_service

_SECONDS_TO_START = 60
_USER = "kd"


@dataclass(frozen=True)
class Postgres:
    """A server that runs.

    Attributes:
        service: its process.
        uri: of its database, without the password.
        environment: what a client needs beside the URI: the password.
    """

    service: Service
    uri: str
    environment: Mapping[str, str]


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    on_path = shutil.which("initdb")
    by_debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    found = [Path(on_path)] if on_path else by_debian[-1:]
    return found[0].resolve().parent if found else None


def start_postgres(
    programs: Path, folder: Path, port: int, password: str, note: Note = forget
) -> Postgres:
    """Start a server whose data is in a folder, and wait until it answers.

    PostgreSQL refuses to run as root; root runs it as Debian's user ``postgres``.

    Args:
        programs: the folder of its programs.
        folder: for its data; its log, ``postgres.log``, is beside it.
        port: where it answers.
        password: of its one user.
        note: takes its process before it answers.

    Raises:
        ServiceError: it does not start; the message says why.
    """
    user = "postgres" if os.getuid() == 0 else None
    if not (folder / "PG_VERSION").exists():
        _create(programs, folder, password, user)
    service = start_service(
        "PostgreSQL",
        [
            str(programs / "postgres"),
            *("-D", str(folder), "-h", "127.0.0.1", "-p", str(port), "-k", ""),
        ],
        folder.with_name("postgres.log"),
        {},
        user,
        note,
    )
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    service.wait_until(lambda: subprocess.run(ready).returncode == 0, _SECONDS_TO_START)
    uri = f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
    return Postgres(service, uri, {"PGPASSWORD": password})


def _create(programs: Path, folder: Path, password: str, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = folder.with_name("postgres-password")
    try:
        secret.touch(mode=0o600)
        secret.write_text(password, encoding="utf-8")
        if user is not None:
            shutil.chown(folder, user, user)
            shutil.chown(secret, user, user)
        subprocess.run(
            [
                str(programs / "initdb"),
                *("-D", str(folder), "-U", _USER, "-E", "UTF8", "--no-locale"),
                *("--auth=scram-sha-256", f"--pwfile={secret}"),
            ],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | LookupError | subprocess.SubprocessError):
            said = getattr(error, "stderr", None) or error
            raise ServiceError(f"PostgreSQL cannot create its data in {folder}: {said}") from None
        raise
    finally:
        secret.unlink(missing_ok=True)
