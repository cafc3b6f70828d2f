"""The places that stages, checkpoints and leases may be in: a folder, and a real S3 server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.local.s3_server import S3Server, s3_server
from orchestrator.store import open_objects
from orchestrator.store.objects import Objects

OpenPlace = Callable[[], Objects]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS, with its address and credentials in the environment."""
    with s3_server(tmp_path_factory.mktemp("s3"), "kd-test") as running:
        before = {name: os.environ.get(name) for name in running.environment}
        os.environ.update(running.environment)
        yield running
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> OpenPlace:
    """Opens an empty place of its own: each call is another machine's view of it."""
    uri = str(tmp_path / "place")
    if request.param == "s3":
        bucket = request.getfixturevalue("server").bucket
        uri = f"s3://{bucket}/{uuid4().hex}"
    return lambda: open_objects(uri)


@pytest.fixture
def objects(place: OpenPlace) -> Objects:
    return place()
