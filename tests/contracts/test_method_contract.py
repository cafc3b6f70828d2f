"""What every method does, built in or from elsewhere, and one from elsewhere end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import kd_models
import orchestrator
from kd_models.data import dataset_row
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.methods import registry
from kd_models.methods.base import Method, PackContext, PretrainedWeights, Step, Variant
from kd_models.methods.registry import MethodError, method_of, methods
from kd_models.values import Value
from kd_models.world import World
from kd_score.detector import run, session
from orchestrator.planning.plan import DatasetFacts, make_plan
from orchestrator.planning.spec import SpecError, SweepSpec
from orchestrator.planning.sweep_file import method_settings

OUTSIDE = Path(__file__).with_name("outside_method")
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=list(methods()))
def method(request: pytest.FixtureRequest) -> Method:
    return methods()[request.param]


@pytest.fixture
def weights(method: Method, tmp_path: Path) -> PretrainedWeights | None:
    return method.read_pretrained("random", tmp_path, False) if method.read_pretrained else None


@pytest.fixture
def steps(method: Method, weights: PretrainedWeights | None) -> list[Step]:
    """The steps of the method's example for the digits."""
    settings = method_settings(method.name, ())
    identity = weights.sha256 if weights else ""
    variants = list(settings.variants(dataset_row("digits"), 10, identity))
    assert variants
    return [step for variant in variants for step, _ in variant.steps]


def images_for(step: Step, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, step.detector.channels, size, size, generator=generator) * 2 - 1


def test_a_learner_from_its_own_weights_scores_alike(
    steps: list[Step], weights: PretrainedWeights | None
) -> None:
    """What is stored and deployed is state dicts by name: nothing else may matter."""
    for step in steps:
        context = PackContext(weights.state if weights and step.pretrained_sha256 else None)
        one, other = step.learner(0, context), step.learner(1, context)
        assert step.scored in one.trained
        networks = {name: network.state_dict() for name, network in one.trained.items()}
        other.load(networks)
        x = images_for(step)
        expected = one.score(x, World())
        assert expected.shape == (6,)
        torch.testing.assert_close(other.score(x, World()), expected)
        deployed = step.detector.scorer()
        deployed.load(networks[step.scored], weights.state if weights else None)
        with torch.no_grad():
            torch.testing.assert_close(deployed.eval()(x), expected, rtol=1e-4, atol=1e-6)


def test_a_detector_scores_alike_without_pytorch(
    steps: list[Step], weights: PretrainedWeights | None
) -> None:
    made = set()
    for step in steps:
        detector, state = step.detector, weights.state if weights else None
        if detector in made:
            continue
        made.add(detector)
        learner = step.learner(0, PackContext(state if step.pretrained_sha256 else None))
        x = images_for(step)
        if not learner.objectives():
            learner.fit(x, World())
        learner.calibrate(x, World())
        x = -x  # images that it was not fitted to
        scorer = detector.scorer()
        scorer.load(learner.trained[step.scored].state_dict(), state)
        model = to_onnx(program_of(scorer.eval(), channels=detector.channels, image_size=32))
        with torch.no_grad():
            expected = scorer(x).numpy()
        for size in (1, 4, 6):
            found = run(session(model), ((x[:size] + 1) * 127.5).numpy())
            assert np.abs(found - expected[:size]).max() <= 1e-4 * np.abs(expected).max()


def test_a_seed_decides_the_initial_weights(
    steps: list[Step], weights: PretrainedWeights | None
) -> None:
    for step in steps:
        context = PackContext(weights.state if weights and step.pretrained_sha256 else None)
        first, same, other = (
            torch.cat(
                [
                    p.flatten()
                    for n in step.learner(s, context).trained.values()
                    for p in n.parameters()
                ]
            )
            for s in (0, 0, 1)
        )
        assert torch.equal(first, same)
        assert torch.equal(first, other) == (step.seed_of(0) == step.seed_of(1))


def test_a_detector_is_read_again_from_json(steps: list[Step]) -> None:
    class Holder(Value):
        detector: registry.AnyDetector

    for step in steps:
        holder = Holder(detector=step.detector)
        assert Holder.model_validate_json(holder.model_dump_json()) == holder


def test_steps_of_a_lane_group_have_networks_of_one_shape(
    steps: list[Step], weights: PretrainedWeights | None
) -> None:
    for step in steps:
        context = PackContext(weights.state if weights and step.pretrained_sha256 else None)
        one, other = step.learner(0, context), step.lane_group.learner(1, context)
        assert shapes_of(one.trained) == shapes_of(other.trained)
        assert step.lane_group.lane_group == step.lane_group


def shapes_of(networks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{name}/{key}": tensor.shape
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }


def test_no_method_is_named_outside_its_folder() -> None:
    # Any spelling: P-KDGAN and pkdgan, ECA_MKDAD and eca-mkdad. Benchmarks are of methods.
    spelled = ("[-_ ]?".join(re.sub("[-_]", "", name)) for name in methods())
    names = re.compile(rf"\b({'|'.join(spelled)})\b", re.I)
    for package in (kd_models, orchestrator):
        for path in Path(package.__path__[0]).rglob("*.py"):
            own = any(f"methods/{name.replace('-', '_')}/" in path.as_posix() for name in methods())
            assert own or not names.search(path.read_text()), path


# From elsewhere


class Point:
    """An entry point that offers something."""

    def __init__(self, name: str, offer: Any) -> None:
        self.name, self.value, self._offer = name, f"somewhere:{name}", offer

    def load(self) -> Any:
        if isinstance(self._offer, Exception):
            raise self._offer
        return self._offer


@pytest.fixture
def offering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def offer(*points: Point) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points))
        methods.cache_clear()

    yield offer
    methods.cache_clear()


@pytest.mark.parametrize(
    ("name", "offer", "said"),
    [
        ("broken", ImportError("no module x"), r"cannot be loaded \(ImportError: no module x\)"),
        ("number", 3, "is no Method of that name"),
        ("other", method_of("pkdgan"), "is no Method of that name"),
        ("pkdgan", method_of("pkdgan"), "there is a method of that name already"),
    ],
)
def test_what_an_installed_package_offers_is_checked(
    offering: Callable[..., None], name: str, offer: Any, said: str
) -> None:
    offering(Point(name, offer))
    with pytest.raises(MethodError, match=rf"entry point {name} = somewhere:{name} of.*{said}"):
        methods()


@pytest.mark.slow
def test_a_method_of_a_package_outside_is_swept_chosen_downloaded_and_scored(
    tmp_path: Path,
) -> None:
    lines = (OUTSIDE / "pooled_gaussian.py").read_text().splitlines()
    assert len(lines) <= 80
    shutil.copytree(OUTSIDE, tmp_path / "package")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--target", tmp_path / "site", tmp_path / "package"),
        ],
        check=True,
        capture_output=True,
    )
    environment = {
        **os.environ,
        "KD_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join((str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)

    def kd(*arguments: str) -> Any:
        ended = subprocess.run(
            [Path(sys.executable).with_name("kd"), *arguments, "--json"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    spec = {
        "name": "outside",
        "method": "pooled_gaussian",
        "datasets": ["digits"],
        "baselines": [],
        "normal_classes": [0, 8],
        "sides": [2, 8],
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    swept = kd("sweep", "sweep.yaml", "--executor", "inline")
    assert (swept["trained"], len(swept["candidates"])) == (4, 4)
    aurocs = {(row["normal_class"], row["side"]): row["auroc"] for row in swept["candidates"]}
    assert aurocs["8", 8] > aurocs["8", 2] > 0.7
    assert kd("sweep", "sweep.yaml", "--executor", "inline")["reused"] == 4
    chosen = kd("choose", "outside", "--register")["champions"]
    assert [one["student"] for one in chosen] == ["8", "8"]
    kd("download", "outside.digits.8", "mine")
    scored = kd("score", "mine", "digits")
    assert scored["auroc"] == pytest.approx(aurocs["8", 8], abs=1e-6)
    assert kd("profile", "--method", "pooled_gaussian", "--dataset", "digits")["detectors"]


def test_a_broken_package_is_one_line_and_stops_no_command_that_needs_no_method(
    offering: Callable[..., None],
) -> None:
    from typer.testing import CliRunner

    from orchestrator.cli import app

    offering(Point("broken", ImportError("no module x")))
    ended = CliRunner().invoke(app, ["profile", "--dataset", "digits"])
    assert ended.exit_code == 2
    assert ended.stderr.splitlines() == [
        "error: the entry point broken = somewhere:broken of kd_models.methods cannot be loaded "
        "(ImportError: no module x); repair or remove its package"
    ]
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"dataset": 1, "structure": "a"}, "has an axis dataset, which results have for something"),
        ({"other": 1}, r"its step's axis structure is none of its variants' axes \(other\)"),
    ],
)
def test_an_axis_that_results_could_not_hold_is_refused(
    axes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = method_of("pkdgan").settings
    variants = settings.variants

    def renamed(self: Any, *arguments: Any) -> Iterator[Variant]:
        for variant in variants(self, *arguments):
            yield replace(variant, axes=axes)

    monkeypatch.setattr(settings, "variants", renamed)
    spec = SweepSpec.model_validate(
        {"name": "a", "datasets": ["digits"], "structures": ["kdgan-2"], "scores": ["paper"]}
    )
    with pytest.raises(SpecError, match=said):
        make_plan(spec, {"digits": DatasetFacts(dataset_row("digits"), "x")})
