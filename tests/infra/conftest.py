"""What the tests of the cluster files share."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def load(root: Path) -> Callable[[str], Any]:
    """Reads a YAML file of the project."""
    return lambda path: yaml.safe_load((root / path).read_text())


@pytest.fixture(scope="session")
def pinned(root: Path) -> Callable[[str], str]:
    """Says which version of a package the project pins."""
    files = ("requirements.txt", "requirements-dev.txt")
    lines = "\n".join((root / name).read_text() for name in files)

    def version(package: str) -> str:
        found = re.search(rf"^{re.escape(package)}==(\S+)", lines, re.MULTILINE)
        assert found is not None, f"{package} is not pinned"
        return found[1]

    return version


@pytest.fixture(scope="session")
def lint() -> Callable[..., str]:
    """Runs a linter of the environment on a text; returns what it complains about."""

    def run(*command: str, text: str) -> str:
        program = str(Path(sys.executable).with_name(command[0]))
        done = subprocess.run(
            [program, *command[1:], "-"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    return run


@pytest.fixture
def asked_of_ec2(load: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    """Says what Ray's own provider asks EC2 for when it starts a machine of a type."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.tags import NODE_KIND_WORKER, TAG_RAY_NODE_KIND

    config = load("ray_cluster.yaml")

    def ask(node_type: str) -> dict[str, Any]:
        provider = AWSNodeProvider.__new__(AWSNodeProvider)
        provider.provider_config = config["provider"]
        provider.cluster_name = config["cluster_name"]
        provider.ec2_fail_fast = mock.Mock()
        provider.ec2_fail_fast.create_instances.return_value = []
        node = config["available_node_types"][node_type]["node_config"]
        provider._create_node(node, {TAG_RAY_NODE_KIND: NODE_KIND_WORKER}, 1)
        asked: dict[str, Any] = provider.ec2_fail_fast.create_instances.call_args.kwargs
        return asked

    return ask
