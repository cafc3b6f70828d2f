"""What every place for named bytes must do."""

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.s3_server import S3Server
from orchestrator.errors import UserError
from orchestrator.planning.storage import S3Access
from orchestrator.store import open_objects
from orchestrator.store.objects import Objects, StoreError
from orchestrator.store.s3 import S3Objects

OpenPlace = Callable[[], Objects]
NAMES = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)


def test_what_is_put_is_got_by_others(place: OpenPlace) -> None:
    place().put("a/b", b"\x00\xff\r\n")
    assert place().get("a/b") == b"\x00\xff\r\n"


def test_nothing_is_there_at_first(objects: Objects) -> None:
    with pytest.raises(KeyError, match="a/b"):
        objects.get("a/b")
    assert objects.existing(["a/b"]) == frozenset()
    assert list(objects.names("a/")) == []
    objects.delete("a/b")


def test_an_object_is_replaced_whole(objects: Objects) -> None:
    objects.put("a", b"longer than the next")
    objects.put("a", b"short")
    assert objects.get("a") == b"short"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(objects: Objects, data: bytes) -> None:
    objects.put("any", data)
    assert objects.get("any") == data


def test_large_objects_come_back(objects: Objects) -> None:
    """Larger than what S3 takes in one part here."""
    data = bytes(range(256)) * (40 << 12)
    objects.put("large", data)
    assert objects.get("large") == data


def test_only_a_new_object_is_put_new(objects: Objects) -> None:
    assert objects.put_new("a/b", b"first") is True
    assert objects.put_new("a/b", b"second") is False
    assert objects.get("a/b") == b"first"
    objects.delete("a/b")
    assert objects.put_new("a/b", b"third") is True


def test_of_many_that_put_new_one_does(place: OpenPlace) -> None:
    machines = [place() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for turn in range(20):
            name = f"turn{turn}"
            asked = [pool.submit(m.put_new, name, str(n).encode()) for n, m in enumerate(machines)]
            wrote = [future.result() for future in asked]
            assert wrote.count(True) == 1
            assert machines[0].get(name) == str(wrote.index(True)).encode()


def test_a_reader_sees_one_writer_whole(place: OpenPlace) -> None:
    versions = [bytes([n]) * 100_000 for n in range(6)]
    writer, reader = place(), place()
    writer.put("a", versions[0])
    with ThreadPoolExecutor(6) as pool:
        written = [pool.submit(writer.put, "a", version) for version in versions * 4]
        seen = [pool.submit(reader.get, "a") for _ in range(24)]
        assert {future.result() for future in seen} <= set(versions)
        for future in written:
            future.result()
    assert place().get("a") in versions


@pytest.mark.parametrize("count", [3, 450])
def test_which_of_many_there_are(objects: Objects, count: int) -> None:
    """Few are asked for one by one, many are listed."""
    wanted = [f"stages/{n % 7}/{n}" for n in range(count)]
    for name in wanted[::50]:
        objects.put(name, b"")
    objects.put("stages/other", b"")
    objects.put("elsewhere/0", b"")
    assert objects.existing(iter(wanted)) == set(wanted[::50])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(NAMES, max_size=8))
def test_names_below_a_folder_are_those_that_were_put(place: OpenPlace, names: set[str]) -> None:
    objects = place()
    # A name that is also a folder of another: a file system cannot have both.
    names = {name for name in names if not any(o.startswith(f"{name}/") for o in names)}
    # A folder of its own for each example: in a file system an empty one remains.
    folder = uuid4().hex
    for name in names:
        objects.put(f"{folder}/{name}", b"")
        objects.put(f"{folder}x/{name}", b"")
    assert sorted(objects.names(f"{folder}/")) == sorted(f"{folder}/{name}" for name in names)


def test_more_names_than_a_page_are_all_listed(objects: Objects) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: objects.put(f"page/{n:04}", b""), range(1100)))
    assert len(set(objects.names("page/"))) == 1100


def test_it_travels_to_other_processes(objects: Objects) -> None:
    objects.put("a", b"1")
    assert pickle.loads(pickle.dumps(objects)).get("a") == b"1"


def test_a_new_place_can_be_written(objects: Objects) -> None:
    objects.check_writable()
    objects.check_writable()
    assert list(objects.names("")) == []


def test_files_have_the_mode_that_the_user_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without asking for the mask, which would change it for all threads of the process."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as context:
            context.delattr(os, "umask")
            open_objects(str(tmp_path / "place")).put_new("a", b"")
        assert (tmp_path / "place/a").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


# Where it cannot be used


def test_a_folder_that_cannot_be_written_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = f"{tmp_path}/file/store"  # root may write anywhere, but not below a file
    with pytest.raises(StoreError, match=f"the store {place} cannot be written .*set storage.root"):
        open_objects(place).check_writable()
    with pytest.raises(StoreError, match=f"{place}/a cannot be written"):
        open_objects(place).put("a", b"")
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(StoreError, match="a cannot be deleted"):
        open_objects(str(tmp_path)).delete("a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "environment", "message"),
    [
        ("no-such-bucket", {}, "NoSuchBucket.*make the bucket, or name another in storage.root"),
        ("kd-test", {"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*does not know these"),
        ("kd-test", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch.*not that of"),
        ("kd-test", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "check the endpoint"),
    ],
)
def test_a_bucket_that_cannot_be_used_says_why(
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    environment: dict[str, str],
    message: str,
) -> None:
    monkeypatch.setattr("orchestrator.s3_client.MOST_TRIES", 1)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=message) as caught:
        open_objects(f"s3://{bucket}/x").check_writable()
    assert isinstance(caught.value, UserError)
    assert f"s3://{bucket}/x/" in str(caught.value)
    assert type(pickle.loads(pickle.dumps(caught.value))) is StoreError
    with pytest.raises(StoreError):
        list(open_objects(f"s3://{bucket}/x").names("a/"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "environment", "message"),
    [
        ("no-such-bucket", {}, "NoSuchBucket.*make the bucket, or name another in storage.root"),
        ("kd-test", {"AWS_ACCESS_KEY_ID": "nobody"}, "403 .*the access key.*s3:ListBucket"),
        ("kd-test", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "403 .*the secret key.*s3:ListBucket"),
    ],
)
def test_a_bucket_that_cannot_be_asked_is_not_taken_for_an_empty_one(
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    environment: dict[str, str],
    message: str,
) -> None:
    """S3 answers HEAD without a body: the code of the error is the number of its status."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=message):
        open_objects(f"s3://{bucket}/x").existing(["a"])


def test_credentials_that_have_expired_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def refuse(**where: str) -> None:
        raise ClientError({"Error": {"Code": "400", "Message": "Bad Request"}}, "HeadObject")

    objects = open_objects("s3://kd-test/x")
    assert isinstance(objects, S3Objects)
    monkeypatch.setattr(objects._client, "head_object", refuse)
    with pytest.raises(StoreError, match="400 Bad Request; check the region and the credentials"):
        objects.existing(["a"])


@pytest.mark.slow
def test_the_endpoint_may_be_a_setting(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    access = S3Access(endpoint_url=server.endpoint_url, region="us-east-1")
    objects = open_objects("s3://kd-test", access)
    objects.put("from-settings", b"1")
    assert objects.existing(["from-settings"]) == {"from-settings"}


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["ignores", "refuses"])
def test_an_endpoint_without_conditions_keeps_the_first_of_two_in_a_row(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    from botocore.exceptions import ClientError

    objects = open_objects(f"s3://kd-test/{answer}")
    assert isinstance(objects, S3Objects)
    put = objects._client.put_object

    def unconditional(**arguments: object) -> object:
        if arguments.pop("IfNoneMatch", None) and answer == "refuses":
            raise ClientError({"Error": {"Code": "NotImplemented"}}, "PutObject")
        return put(**arguments)

    monkeypatch.setattr(objects._client, "put_object", unconditional)
    assert objects.put_new("a", b"first") is True
    assert objects.put_new("a", b"second") is False
    assert objects.get("a") == b"first"


def test_other_schemes_are_refused() -> None:
    with pytest.raises(StoreError, match="gs://bucket/x cannot hold stages; expected a folder or"):
        open_objects("gs://bucket/x")
