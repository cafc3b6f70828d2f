"""The manifests for KubeRay, by its own schemas."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

Manifest = dict[str, Any]
SCHEMAS = {"raycluster": "rayclusters", "rayjob": "rayjobs"}


def closed(schema: Any) -> Any:
    """Refuse the fields that Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(part) for name, part in schema.items()}
    may_have_more = "additionalProperties" in schema or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", bool(may_have_more))
    return schema


@pytest.fixture(scope="session")
def mistakes() -> Callable[[str, Manifest], list[str]]:
    """Says what is wrong with a manifest."""
    folder = Path(__file__).parent / "schemas"
    validators = {
        name: Draft202012Validator(closed(json.loads((folder / f"{schema}.json").read_text())))
        for name, schema in SCHEMAS.items()
    }
    return lambda name, manifest: [e.message for e in validators[name].iter_errors(manifest)]


@pytest.fixture
def manifest(load: Callable[[str], Any]) -> Callable[[str], Manifest]:
    return lambda name: load(f"infra/kuberay/{name}.yaml")


@pytest.fixture
def spec(manifest: Callable[[str], Manifest]) -> Manifest:
    own: Manifest = manifest("raycluster")["spec"]
    return own


@pytest.mark.parametrize("name", SCHEMAS)
def test_kuberay_knows_all_that_is_in_them(
    name: str,
    manifest: Callable[[str], Manifest],
    mistakes: Callable[[str, Manifest], list[str]],
) -> None:
    assert mistakes(name, manifest(name)) == []


def fields(part: Any) -> Iterator[tuple[Manifest, str]]:
    """Yield every field whose name a schema knows, with what it is in."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part):
        free = name in ("metadata", "rayStartParams", "requests", "limits")
        if isinstance(part, dict):
            yield part, name
        if isinstance(value, dict | list) and not free:
            yield from fields(value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_that_is_misspelt_is_refused(
    name: str,
    manifest: Callable[[str], Manifest],
    mistakes: Callable[[str, Manifest], list[str]],
) -> None:
    number = len(list(fields(manifest(name))))
    assert number > 40
    for index in range(number):
        spoilt = copy.deepcopy(json.loads(json.dumps(manifest(name))))
        part, field = list(fields(spoilt))[index]
        part[f"{field}s"] = part.pop(field)
        found = mistakes(name, spoilt)
        assert any(f"'{field}s'" in mistake for mistake in found), field


def test_the_head_trains_nothing_and_nobody_comes_unasked(spec: Manifest) -> None:
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "gpu" not in json.dumps(spec["headGroupSpec"])
    assert spec["enableInTreeAutoscaling"] is True
    (group,) = spec["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == 0
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["resources"]["limits"] == container["resources"]["requests"]


def test_they_are_closed(spec: Manifest) -> None:
    assert spec["authOptions"] == {"mode": "token"}
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "kd"
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            names = {variable["name"] for variable in container["env"]}
            assert names == {"KD_HOME", "MLFLOW_TRACKING_URI", "AWS_DEFAULT_REGION"}


def test_the_job_has_the_same_cluster(manifest: Callable[[str], Manifest], spec: Manifest) -> None:
    job = manifest("rayjob")["spec"]
    assert job["rayClusterSpec"] == spec
    assert job["shutdownAfterJobFinishes"] is True
