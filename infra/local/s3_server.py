"""An S3 server on this machine: SeaweedFS, on loopback, with credentials."""

import contextlib
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.services import Note, Service, forget, free_port, start_service

_SECONDS_TO_START = 30
S3_SERVER = "the S3 server"


@dataclass(frozen=True)
class S3Server:
    """A server that runs.

    Attributes:
        service: its process.
        endpoint_url: where it answers.
        access_key: the name of its one user.
        secret_key: that user's password.
        bucket: the one there is.
    """

    service: Service
    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what boto3 needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def start_s3_server(
    folder: Path,
    bucket: str,
    port: int = 0,
    keys: tuple[str, str] | None = None,
    note: Note = forget,
) -> S3Server:
    """Start a server whose data is in a folder, and wait until it answers.

    Args:
        folder: for its data and its log, ``weed.log``.
        bucket: made if it is not there.
        port: where it answers; 0 for any that is free.
        keys: its user's name and password; None for new ones.
        note: takes its process before it answers.

    Raises:
        ServiceError: it does not answer; the message has the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ports = [port or free_port(), *(free_port() for _ in range(4))]
    access_key, secret_key = keys or (secrets.token_hex(10), secrets.token_hex(20))
    command = [
        str(Path(sys.executable).with_name("weed")),
        "mini",
        f"-dir={folder}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        f"-s3.port={ports[0]}",
        f"-master.port={ports[1]}",
        f"-volume.port={ports[2]}",
        f"-filer.port={ports[3]}",
        f"-admin.port={ports[4]}",
        # It offers more than S3, and would tell its makers that it runs.
        *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-metricsPort=0", "-master.telemetry=false", "-s3.autoCreateBucket=false"),
        f"-bucket={bucket}",
    ]
    user = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    service = start_service(S3_SERVER, command, folder / "weed.log", user, note=note)
    server = S3Server(service, f"http://127.0.0.1:{ports[0]}", access_key, secret_key, bucket)
    service.wait_until(lambda: _serves(server), _SECONDS_TO_START)
    return server


@contextlib.contextmanager
def s3_server(folder: Path, bucket: str) -> Iterator[S3Server]:
    """Run a server for a while; arguments as for :func:`start_s3_server`."""
    server = start_s3_server(folder, bucket)
    try:
        yield server
    finally:
        server.service.stop()


def _serves(server: S3Server) -> bool:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(retries={"max_attempts": 1}, connect_timeout=1, read_timeout=5),
    )
    try:
        # Volumes come a moment after the port: only a written object shows that all is there.
        client.put_object(Bucket=server.bucket, Key="started", Body=b"")
        client.delete_object(Bucket=server.bucket, Key="started")
    except (BotoCoreError, ClientError):
        return False
    return True
