"""A pretrained teacher's weights from a path, from the network, and from where there are none."""

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file

from kd_models.methods.base import PretrainedWeights, WeightsError
from kd_models.methods.registry import method_of
from orchestrator.planning.prepare import prepare
from orchestrator.planning.pretrained import read_pretrained
from orchestrator.planning.spec import SpecError, SweepSpec

METHOD = method_of("eca_mkdad")
WHAT_TO_DO = "give their path on this machine instead"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights_file(teacher: PretrainedWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    save_file(dict(teacher.state), path)
    (path.parent / "page.pth").write_text("<html>please sign in</html>")
    return path


@pytest.fixture(scope="module")
def server(weights_file: Path) -> Iterator[str]:
    """The address of a server of the folder that the weights are in."""
    handler = functools.partial(Quiet, directory=str(weights_file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS account, no proxy, and temporary files where the test can see them."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def complaint(source: str, tmp_path: Path, *, download: bool = True) -> str:
    with pytest.raises(WeightsError) as caught:
        read_pretrained(METHOD, source, tmp_path / "downloads", download=download)
    return str(caught.value)


def test_chance_needs_no_file(teacher: PretrainedWeights, tmp_path: Path) -> None:
    assert read_pretrained(METHOD, "random", tmp_path).sha256 == teacher.sha256
    assert not list(tmp_path.glob("*.*"))


def test_a_path_and_a_file_uri_are_the_same_weights(
    teacher: PretrainedWeights, weights_file: Path, tmp_path: Path
) -> None:
    for source in (str(weights_file), f"file://{weights_file}"):
        assert read_pretrained(METHOD, source, tmp_path).sha256 == teacher.sha256


def test_a_file_uri_may_have_escaped_characters(
    teacher: PretrainedWeights, weights_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my weights"
    folder.mkdir()
    (folder / "vgg16.safetensors").symlink_to(weights_file)
    uri = (folder / "vgg16.safetensors").as_uri()
    assert "%20" in uri
    assert read_pretrained(METHOD, uri, tmp_path).sha256 == teacher.sha256


def test_weights_come_from_a_server_and_nothing_is_left_behind(
    teacher: PretrainedWeights, server: str, tmp_path: Path
) -> None:
    for query in ("", "?token=secret"):
        source = f"{server}/vgg16.safetensors{query}"
        assert read_pretrained(METHOD, source, tmp_path / "downloads").sha256 == teacher.sha256
    assert not (tmp_path / "downloads").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_the_server_does_not_have_is_said(server: str, tmp_path: Path) -> None:
    source = f"{server}/nothing.safetensors"
    said = complaint(source, tmp_path)
    assert said.startswith(f"no pretrained weights from {source} (HTTPError: HTTP Error 404")
    assert WHAT_TO_DO in said


def test_an_address_without_a_file_is_said(server: str, tmp_path: Path) -> None:
    source = f"{server}/"
    assert complaint(source, tmp_path).startswith(f"no pretrained weights from {source} (")


def test_a_page_in_place_of_weights_is_said_with_its_address(server: str, tmp_path: Path) -> None:
    assert f"{server}/page.pth" in complaint(f"{server}/page.pth", tmp_path)


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    source = f"http://127.0.0.1:{closed_port()}/vgg16.pth"
    said = complaint(source, tmp_path)
    assert said.startswith(f"no pretrained weights from {source} (URLError: ")
    assert "refused" in said
    assert WHAT_TO_DO in said


# Left by botocore's connection pool when it is refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bucket_that_cannot_be_reached_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{closed_port()}",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    said = complaint("s3://models/vgg/vgg16.safetensors", tmp_path)
    assert said.startswith(
        "no pretrained weights from s3://models/vgg/vgg16.safetensors (EndpointConnectionError: "
    )
    assert WHAT_TO_DO in said


def test_a_scheme_that_nobody_knows_is_said(tmp_path: Path) -> None:
    said = complaint("gopher://models/vgg16.pth", tmp_path)
    assert said.startswith("no pretrained weights from gopher://models/vgg16.pth (")
    assert WHAT_TO_DO in said


def test_an_unknown_name_is_answered_with_what_there_is(tmp_path: Path) -> None:
    said = complaint("imagenet1k", tmp_path)
    assert said == (
        "teacher weights 'imagenet1k': there is no such file; expected imagenet1k_v1, random or "
        "the path of a VGG16 state dict; did you mean imagenet1k_v1?"
    )


@pytest.mark.parametrize("source", ["/nowhere/vgg16.pth", "file:///nowhere/vgg16.pth"])
def test_a_file_that_is_not_there_is_said(source: str, tmp_path: Path) -> None:
    said = complaint(source, tmp_path)
    assert said.startswith("teacher weights '/nowhere/vgg16.pth': there is no such file")
    assert "the path of a VGG16 state dict" in said


def test_torchvisions_weights_are_not_fetched_where_they_may_not_be(tmp_path: Path) -> None:
    said = complaint("imagenet1k_v1", tmp_path, download=False)
    assert said == f"{tmp_path}/downloads/vgg16-397923af.pth is not there"


def test_methods_of_one_sweep_may_have_the_same_weights_and_no_others(tmp_path: Path) -> None:
    def spec(*weights: str) -> SweepSpec:
        methods = [
            {"method": method, "teacher": {"weights": source}, "training": {"epochs": 1}}
            for method, source in zip(("eca_mkdad", "rkdad"), weights, strict=True)
        ]
        return SweepSpec.model_validate(
            {"name": "x", "datasets": ["digits"], "normal_classes": [0], "baselines": []}
            | {"methods": methods, "storage": {"root": str(tmp_path / "home")}}
        )

    plan = prepare(spec("random", "random"), lambda line: None, download=False).plan
    hashes = {stage.step.pretrained_sha256 for stage in plan.stages.values()}
    assert len(plan.stages) == 2
    assert len(hashes) == 1
    with pytest.raises(SpecError, match=r"other.pth \(of eca_mkdad\) and random \(of rkdad\)"):
        prepare(spec("other.pth", "random"), lambda line: None, download=False)
