"""Places of results with one thing wrong each, on a real S3 server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, faulty_proxy

from infra.local.s3_server import S3Server, s3_server
from infra.local.services import free_port
from orchestrator.doctor.findings import Finding
from orchestrator.doctor.places import LeftWords, look_at_places, look_for_words
from orchestrator.planning.storage import StorageSpec
from orchestrator.store import open_objects

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]

FindingsOf = Callable[..., list[Finding]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3"), "kd-test") as running:
        yield running


@pytest.fixture
def reached(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KD_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return server


def storage(**access: Any) -> dict[str, Any]:
    return {"root": "s3://kd-test/doctor", "s3": access}


def test_of_a_place_that_is_well_nothing_is_left(
    reached: S3Server, findings_of: FindingsOf
) -> None:
    assert findings_of(storage=storage()) == []
    assert look_at_places(StorageSpec(**storage()), large=True)[-1].level == "ok"
    assert list(open_objects("s3://kd-test/doctor").names("")) == []


@pytest.mark.parametrize(
    ("environment", "what", "fix"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch", "secret key is not that"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId", "does not know these credentials"),
    ],
)
def test_wrong_credentials(
    reached: S3Server,
    findings_of: FindingsOf,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    what: str,
    fix: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding, *_ = findings_of(storage=storage())
    assert (finding.check, finding.level) == ("storage", "fault")
    assert what in finding.what
    assert fix in finding.fix


def test_no_credentials(
    reached: S3Server, findings_of: FindingsOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    finding, *_ = findings_of(storage=storage())
    assert "NoCredentials" in finding.what
    assert "the credentials" in finding.fix


def test_a_bucket_that_is_not_there(reached: S3Server, findings_of: FindingsOf) -> None:
    finding, *_ = findings_of(storage={"root": "s3://kd-other/doctor"})
    assert "NoSuchBucket" in finding.what
    assert "make the bucket" in finding.fix


def test_a_server_that_is_not_there(reached: S3Server, findings_of: FindingsOf) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    finding, *_ = findings_of(storage=storage(endpoint_url=nowhere))
    assert nowhere in finding.what
    assert "check the endpoint" in finding.fix


@pytest.mark.parametrize(
    ("fault", "check", "level", "what", "fix"),
    [
        (Fault(takes_all=True), "storage", "warning", "ignores conditions", "If-None-Match"),
        (Fault(refuses="DELETE"), "storage", "fault", "cannot be deleted", "s3:DeleteObject"),
        (Fault(refuses="PUT"), "storage", "fault", "cannot be written", "s3:PutObject"),
        (Fault(damages=0), "storage", "fault", "does not give back", "S3"),
        (Fault(damages=1 << 20), "storage", "fault", "came back changed", "another S3 server"),
        (Fault(seconds_off=1200), "clock", "warning", "s behind that of", "set the clock"),
        (Fault(seconds_off=-900), "clock", "warning", "s ahead of that of", "set the clock"),
        (Fault(says="RequestTimeTooSkewed"), "storage", "fault", "cannot be", "set this machine's"),
    ],
)
def test_a_server_with_a_fault(
    reached: S3Server,
    findings_of: FindingsOf,
    fault: Fault,
    check: str,
    level: str,
    what: str,
    fix: str,
) -> None:
    with faulty_proxy(reached.endpoint_url, fault) as url:
        finding, *others = findings_of(storage=storage(endpoint_url=url))
    # The machine that trains is this one, and is told of the same.
    assert {(other.check, other.level) for other in others} <= {(check, level)}
    assert (finding.check, finding.level) == (check, level)
    assert what in finding.what
    assert fix in finding.what + finding.fix


@pytest.mark.parametrize(
    "environment", [{"AWS_PROFILE": "nosuch"}, {"AWS_ENDPOINT_URL": "localhost:8333"}]
)
def test_settings_that_boto3_cannot_use(
    reached: S3Server,
    findings_of: FindingsOf,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding, *_ = findings_of(storage=storage())
    assert (finding.check, finding.level) == ("storage", "fault")
    assert "check the endpoint" in finding.fix


def test_a_store_beside_the_root_is_looked_at_too(
    reached: S3Server, findings_of: FindingsOf, tmp_path: Path
) -> None:
    (tmp_path / "kd-store").write_text("no folder")
    places = {"root": str(tmp_path / "kd"), "store": str(tmp_path / "kd-store")}
    finding, *_ = findings_of(storage=places)
    assert finding.level == "fault"
    assert "kd-store" in finding.what


def test_a_machine_that_sees_another_place_of_the_same_name(
    reached: S3Server, tmp_path: Path
) -> None:
    shared, own = StorageSpec(**storage()), StorageSpec(root=str(tmp_path / "home"))
    with LeftWords(shared) as words:
        assert look_for_words(shared, words, "node") == []
    with LeftWords(own) as words:
        assert look_for_words(own, words, "node") == []
        (tmp_path / "home").rename(tmp_path / "elsewhere")
        finding, *_ = look_for_words(own, words, "node")
    assert finding.level == "fault"
    assert "all machines share" in finding.fix


def test_a_place_that_takes_no_word_keeps_nobody_from_looking_at_the_other(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    places = StorageSpec(root=str(tmp_path / "home"), store=str(tmp_path / "store"))
    with LeftWords(places) as words:
        assert list(words) == [str(tmp_path / "home")]
        assert look_for_words(places, words, "node") == []
        (tmp_path / "home").rename(tmp_path / "elsewhere")
        finding, *_ = look_for_words(places, words, "node")
        assert finding.level == "fault"
        (tmp_path / "elsewhere").rename(tmp_path / "home")
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []
