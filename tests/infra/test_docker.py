"""Dockerfile and compose.yaml, as far as they can be checked without Docker."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.server.security_utils import is_allowed_host_header
from ray.scripts.scripts import healthcheck, start
from sqlalchemy.engine import make_url

Compose = dict[str, Any]
COMPOSE = "infra/docker/compose.yaml"


@pytest.fixture
def compose(load: Callable[[str], Any]) -> Compose:
    loaded: Compose = load(COMPOSE)
    return loaded


def check(schema: str, path: Path) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    return subprocess.run(
        [program, "--builtin-schema", schema, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


# The image.


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> str:
    return (root / "infra/docker/Dockerfile").read_text()


def test_hadolint_finds_nothing(dockerfile: str, lint: Callable[..., str]) -> None:
    assert lint("hadolint", "--no-color", text=dockerfile) == ""
    assert "DL3006" in lint("hadolint", "--no-color", text="FROM debian\n")


def copied(dockerfile: str) -> list[str]:
    lines = re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_nothing_else_is_sent(root: Path, dockerfile: str) -> None:
    sources = copied(dockerfile)
    assert [source for source in sources if not (root / source).exists()] == []
    lines = (root / "infra/docker/Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules == ["*", *(f"!{source}" for source in sources), "**/__pycache__"]


def test_nothing_runs_as_root(dockerfile: str) -> None:
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    assert users == ["1000"], "a number, or Kubernetes does not see that it is not root"
    assert "--uid 1000" in dockerfile


# The services.


def test_it_is_compose(root: Path, tmp_path: Path) -> None:
    done = check("vendor.compose-spec", root / COMPOSE)
    assert done.returncode == 0, done.stdout
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text((root / COMPOSE).read_text().replace("healthcheck:", "healthchecks:", 1))
    assert check("vendor.compose-spec", misspelt).returncode == 1


def test_ports_are_published_to_this_machine_alone(compose: Compose) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert not any("network_mode" in service for service in compose["services"].values())


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value


def test_every_secret_is_asked_for_and_made(root: Path, compose: Compose) -> None:
    asked = set()
    for name, service in compose["services"].items():
        for variable, value in service["environment"].items():
            if re.search(r"TOKEN|PASSWORD|KEY|_URI$", variable) and "://mlflow:5000" not in value:
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{variable} of {name}"
    for text in strings(compose["services"]):
        assert re.sub(r"\$\{\w+:\?[^}]+\}", "", text).count("$") == 0, text
        asked |= set(re.findall(r"\$\{(\w+):\?", text))
    made = re.search(r"for name in ([A-Z0-9_ ]+); do", (root / COMPOSE).read_text())
    assert made is not None
    assert set(made[1].split()) == asked
    assert (root / "infra/docker/.gitignore").read_text() == ".env\n"


def test_services_wait_for_those_that_they_need(compose: Compose) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in services[other]
    images = {service["image"] for service in services.values()}
    assert all(":" in image for image in images - {"kd"}), "a version"
    volumes = {volume.split(":")[0] for of in services.values() for volume in of.get("volumes", ())}
    assert volumes == set(compose["volumes"])


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # importing MLflow's
def test_the_programs_know_their_options(compose: Compose) -> None:
    from mlflow.cli import server

    services = compose["services"]

    def options(service: str, program: Any, words: int) -> dict[str, Any]:
        parsed: dict[str, Any] = program.make_context("x", services[service]["command"][words:])
        return parsed.params

    head = options("ray-head", start, 2)
    assert (head["head"], head["num_cpus"], head["port"]) == (True, 0, 6379)
    assert options("ray-worker", start, 2)["address"] == f"ray-head:{head['port']}"
    health = services["ray-head"]["healthcheck"]["test"]
    assert health[:3] == ["CMD", "ray", "health-check"]
    assert healthcheck.make_context("x", health[3:]).params["address"] == "127.0.0.1:6379"

    own = options("mlflow", server, 2)
    allowed = own["allowed_hosts"].split(",")
    for host in (services["ray-head"]["environment"]["MLFLOW_TRACKING_URI"][7:], "127.0.0.1:5000"):
        assert is_allowed_host_header(allowed, host)
    assert not is_allowed_host_header(allowed, "elsewhere:5000")
    assert own["port"] == 5000
    uri = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    database = make_url(re.sub(r"\$\{.*?\}", "secret", uri))
    assert (database.get_dialect().driver, database.host) == ("psycopg", "postgres")


def test_seaweedfs_knows_its_options_and_has_the_bucket(compose: Compose) -> None:
    service = compose["services"]["s3"]
    weed = str(Path(sys.executable).with_name("weed"))
    told = subprocess.run([weed, "mini", "-h"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^  -(\S+)", told.stdout + told.stderr, re.MULTILINE))
    program, *flags = service["command"]
    given = dict(flag.removeprefix("-").split("=") for flag in flags)
    assert program == "mini"
    assert set(given) <= known, told.stderr[:200]
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", given["bucket"]), (
        "a name that S3 takes"
    )
    head = compose["services"]["ray-head"]["environment"]
    assert head["AWS_ENDPOINT_URL"] == f"http://{given['ip']}:{given['s3.port']}"
    assert head["KD_HOME"].startswith(f"s3://{given['bucket']}/")
    mlflow = compose["services"]["mlflow"]["command"]
    assert f"--artifacts-destination=s3://{given['bucket']}/mlartifacts" in mlflow
    assert service["volumes"] == [f"objects:{given['dir']}"]


def test_the_worker_has_the_gpus(compose: Compose) -> None:
    (device,) = compose["services"]["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert "deploy" not in compose["services"]["ray-head"]


# CI.


def test_github_knows_the_workflows(root: Path) -> None:
    for path in (root / ".github/workflows").iterdir():
        done = check("vendor.github-workflows", path)
        assert done.returncode == 0, done.stdout
