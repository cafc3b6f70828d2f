"""What a device gets scores as PyTorch does, or is not offered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import digits, fitted_package
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from kd_models.data import OneClassData
from kd_models.export import cost, packaged
from kd_models.export.cost import measure_network
from kd_models.export.errors import ExportError
from kd_models.export.int8 import to_int8
from kd_models.export.onnx_model import program_of, to_onnx
from kd_models.export.packaged import export
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import GanDetector
from kd_models.package import Package
from kd_score.detector import INT8_MODEL, MODEL, Detector, run, session
from kd_score.errors import PackageError


@pytest.fixture(scope="module")
def data() -> OneClassData:
    return digits()


@pytest.fixture(scope="module")
def package(data: OneClassData) -> Package:
    return fitted_package(data)


@pytest.fixture(scope="module")
def folder(package: Package, data: OneClassData, tmp_path_factory: Any) -> Path:
    place = tmp_path_factory.mktemp("package")
    export(package, data, place)
    return place


def test_a_small_student_fits_into_64_kilobytes(folder: Path) -> None:
    assert (folder / INT8_MODEL).stat().st_size <= 64 * 1024


def test_what_is_said_of_the_models_is_what_they_do(folder: Path, data: OneClassData) -> None:
    exports = Package.load(folder).config.exports
    assert exports is not None
    assert set(exports.models) == {MODEL, INT8_MODEL}
    pixels = ((data.test + 1) * 127.5).numpy()
    for name, said in exports.models.items():
        scores = Detector(folder, int8=name == INT8_MODEL).scores(pixels)
        assert said.auroc == pytest.approx(roc_auc_score(data.novel, scores), abs=1e-9)
        assert said.size == (folder / name).stat().st_size
    exact = exports.models[MODEL]
    assert exact.difference < 1e-4
    assert exact.auroc - exports.models[INT8_MODEL].auroc <= 0.005
    assert exports.models[INT8_MODEL].threshold != exact.threshold


def test_training_images_score_alike_too(
    folder: Path, package: Package, data: OneClassData
) -> None:
    """Of so few each is a prototype itself: what is left of its distance must not be rounding."""
    expected = package.score(data.train).numpy()
    scores = Detector(folder).scores(((data.train + 1) * 127.5).numpy())
    largest = float(package.score(data.test).max())
    np.testing.assert_allclose(scores, expected, atol=1e-4 * largest)


def test_a_model_that_scores_otherwise_is_not_offered(
    package: Package, data: OneClassData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = GanDetector(network=NetworkConfig(channels=1, widths=(1, 2, 4))).scorer().eval()

    def of_another(scorer: Any, **options: Any) -> Any:
        return program(other, **options)

    program = packaged.program_of
    monkeypatch.setattr(packaged, "program_of", of_another)
    with pytest.raises(ExportError, match="differ from PyTorch's by"):
        export(package, data, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_quantised_model_that_loses_too_much_is_not_offered(
    package: Package, data: OneClassData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged, "INT8_MAY_LOSE", -1.0)
    exports = export(package, data, tmp_path).config.exports
    assert exports is not None
    assert set(exports.models) == {MODEL}
    assert "AUROC" in exports.left_out[INT8_MODEL]
    assert not (tmp_path / INT8_MODEL).exists()
    with pytest.raises(PackageError, match="int8 lost too much"):
        Detector(tmp_path, int8=True)
    assert Package.load(tmp_path).config.exports == exports


class Branches(nn.Module):
    """Does one thing or another, as its data says."""

    def forward(self, images: Tensor) -> Tensor:
        total = images.sum((1, 2, 3))
        return total if float(total[0]) > 0 else -total


class Eigenvalues(nn.Module):
    """Does what ONNX has no operation for."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(images[:, 0]).sum(1)


@pytest.mark.parametrize(
    ("network", "exporter"), [(Branches(), "torch.export"), (Eigenvalues(), "torch.onnx")]
)
def test_a_scorer_that_cannot_be_exported_is_refused_in_words(
    network: nn.Module, exporter: str
) -> None:
    with pytest.raises(ExportError, match=f"^{exporter} cannot export its scorer"):
        measure_network(network, channels=1, image_size=8)


def test_a_model_that_the_runtime_refuses_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "to_onnx", lambda program: b"no model")
    with pytest.raises(ExportError, match=r"does not run its exported scorer .*INVALID_PROTOBUF"):
        measure_network(nn.Flatten(), channels=1, image_size=8)


def test_in_8_bits_a_layer_may_run_many_times() -> None:
    """A bias that is used again is copied when it is quantised, under a name of its own."""

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(20):
                x = self.convolution(x).relu()
            return x.mean((1, 2, 3))

    model = to_onnx(program_of(Repeated(), channels=1, image_size=8))
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 1, 8, 8)).astype(np.float32)
    assert np.isfinite(run(session(to_int8(model, pixels)), pixels)).all()
