"""Photographs in a bucket of a real S3 server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.s3_server import S3Server, s3_server
from kd_models.data import DataError
from orchestrator.planning.bucket_data import is_in_bucket, local_name, stays_inside
from orchestrator.planning.prepare import prepare
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.storage import StorageSpec
from orchestrator.s3_client import s3_client


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("folder:s3://bucket/parts", True),
        ("mvtec:s3://bucket/some/where/", True),
        ("folder:/parts", False),
        ("digits", False),
    ],
)
def test_a_dataset_in_a_bucket_is_told_from_others(name: str, is_one: bool) -> None:
    assert is_in_bucket(name) == is_one


@pytest.mark.parametrize(
    "name",
    [
        "folder:s3://",
        "mvtec:s3://bucket",
        "folder:s3:/bucket/parts",
        "folder:s3://bucket/../photos",
        "folder:s3://../photos",
        "mvtec:s3://bucket/parts//old",
    ],
)
def test_a_name_that_is_none_is_refused_in_the_sweep_file(name: str) -> None:
    with pytest.raises(DataError, match="expected folder:s3://BUCKET/PREFIX"):
        is_in_bucket(name)
    with pytest.raises((DataError, SpecError, ValueError), match="expected folder:s3://BUCKET"):
        SweepSpec.model_validate({"name": "x", "datasets": [name], "structures": ["alone"]})


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"AWS_PROFILE": "nosuch"}, "ProfileNotFound.*nosuch"),
        ({"AWS_ENDPOINT_URL": "localhost:8333"}, "ValueError.*localhost:8333"),
    ],
)
def test_settings_that_boto3_cannot_use_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], problem: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=f"s3://bucket/parts/ cannot be read .*{problem}.*; check"):
        local_name("folder:s3://bucket/parts", storage(tmp_path), lambda line: None)


on_a_server = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("a.png", True),
        ("a/b c.png", True),
        ("a/..b.png", True),
        ("../a.png", False),
        ("a/../../b.png", False),
        ("/a.png", False),
        ("a//b.png", False),
        ("./a.png", False),
    ],
)
def test_no_object_is_written_elsewhere(name: str, does: bool) -> None:
    assert stays_inside(name) == does


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("s3")
    with s3_server(folder, "kd-test") as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def client(server: S3Server) -> Any:
    return s3_client(None, None)


@pytest.fixture
def parts(
    client: Any, server: S3Server, planted: Callable[..., Path], tmp_path: Path
) -> tuple[Path, str]:
    """A tree in MVTec's layout here and in the bucket, with a file that is no image."""
    root = planted(tmp_path / "parts", train=3, test=2, size=32).parent
    prefix = tmp_path.name
    for path in root.rglob("*.png"):
        client.upload_file(str(path), server.bucket, f"{prefix}/{path.relative_to(root)}")
    client.put_object(Bucket=server.bucket, Key=f"{prefix}/readme.txt", Body=b"not an image")
    return root, f"mvtec:s3://{server.bucket}/{prefix}"


def storage(tmp_path: Path) -> StorageSpec:
    return StorageSpec(root=str(tmp_path / "home"))


def files(name: str) -> dict[str, bytes]:
    root = Path(name.removeprefix("mvtec:"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


@on_a_server
def test_what_is_there_is_copied_once(parts: tuple[Path, str], tmp_path: Path) -> None:
    here, name = parts
    said: list[str] = []
    local = local_name(name, storage(tmp_path), said.append)
    assert files(local) == files(f"mvtec:{here}")
    assert [line.split(" images from ")[0] for line in said] == ["copying 17"]
    before = {path: path.stat().st_mtime_ns for path in Path(local[6:]).rglob("*.png")}
    assert local_name(f"{name}/", storage(tmp_path), said.append) == local
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(said) == 1


@on_a_server
def test_what_changed_is_copied_again_and_what_is_gone_goes(
    parts: tuple[Path, str], client: Any, server: S3Server, tmp_path: Path
) -> None:
    here, name = parts
    local = local_name(name, storage(tmp_path), lambda line: None)
    prefix = name.rpartition("/")[2]
    (here / "cloth/train/good/000.png").unlink()
    client.delete_object(Bucket=server.bucket, Key=f"{prefix}/cloth/train/good/000.png")
    changed = here / "cloth/train/good/001.png"
    changed.write_bytes((here / "cloth/train/good/002.png").read_bytes())
    client.upload_file(str(changed), server.bucket, f"{prefix}/cloth/train/good/001.png")
    (Path(local[6:]) / "cloth/test/good/000.png").write_bytes(b"cut off")
    said: list[str] = []
    local_name(name, storage(tmp_path), said.append)
    assert files(local) == files(f"mvtec:{here}")
    assert "copying 2 images" in said[0]


@on_a_server
@pytest.mark.parametrize("known", [0, 5])
def test_what_a_copy_that_was_killed_left_goes_too(
    parts: tuple[Path, str], client: Any, server: S3Server, tmp_path: Path, known: int
) -> None:
    """A copy notes every few hundred images: those after the last note are files alone."""
    here, name = parts
    local = local_name(name, storage(tmp_path), lambda line: None)
    index = Path(local[6:]) / ".copied.json"
    index.write_text(json.dumps(dict(list(json.loads(index.read_text()).items())[:known])))
    prefix = name.rpartition("/")[2]
    for path in (here / "cloth/train/good/000.png", here / "cloth/test/cut/001.png"):
        path.unlink()
        key = f"{prefix}/{path.relative_to(here).as_posix()}"
        client.delete_object(Bucket=server.bucket, Key=key)
    local_name(name, storage(tmp_path), lambda line: None)
    assert files(local) == files(f"mvtec:{here}")


@on_a_server
def test_a_plan_is_that_of_the_same_files_here_but_for_the_name(
    parts: tuple[Path, str], tmp_path: Path
) -> None:
    here, name = parts

    def fingerprints(dataset: str) -> set[tuple[str, str]]:
        settings = {"name": "x", "datasets": [dataset], "structures": ["alone"]}
        home = {"root": str(tmp_path / "home")}
        spec = SweepSpec.model_validate({**settings, "storage": home})
        plan = prepare(spec, lambda line: None, download=False).plan
        assert {stage.dataset for stage in plan.stages.values()} == {dataset}
        return {(stage.normal_class, stage.fingerprint) for stage in plan.stages.values()}

    assert fingerprints(name) == fingerprints(f"mvtec:{here}")


@on_a_server
@pytest.mark.parametrize(
    ("key", "name", "problem"),
    [
        ("text/readme.txt", "text", "has no image"),
        ("text/readme.txt", "nothing/here", "has no image"),
    ],
)
def test_what_cannot_be_copied_is_said(
    client: Any, server: S3Server, tmp_path: Path, key: str, name: str, problem: str
) -> None:
    client.put_object(Bucket=server.bucket, Key=key, Body=b"x")
    with pytest.raises(DataError, match=problem):
        local_name(f"folder:s3://{server.bucket}/{name}", storage(tmp_path), lambda line: None)


@on_a_server
def test_a_bucket_that_is_not_there_is_said(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NoSuchBucket"):
        local_name("folder:s3://kd-other/parts", storage(tmp_path), lambda line: None)
