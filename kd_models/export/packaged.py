"""A student's package gets models that run without PyTorch, each compared with PyTorch.

Shapes: N images.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kd_models.data import OneClassData
from kd_models.evaluation.metrics import ScoreArray, evaluate
from kd_models.evaluation.protocol import holdout_split
from kd_models.export.errors import ExportError
from kd_models.export.int8 import to_int8
from kd_models.export.onnx_model import program_of, save_program, to_onnx
from kd_models.package import PROGRAM, ExportedModel, Exports, Package
from kd_score.detector import INT8_MODEL, MODEL, run, session

TOLERANCE = 1e-4
"""by which scores of the ONNX model may differ from PyTorch's, as a share of the largest; and
its AUROC"""
INT8_MAY_LOSE = 0.005
"""AUROC that the quantised model may lose"""
_AT_ONCE = 64


def export(package: Package, data: OneClassData, folder: Path) -> Package:
    """Write a package with its exported models into a folder.

    Both models score all test images. The quantised one has a threshold of its own, set as the
    package's protocol says; if it loses more than ``INT8_MAY_LOSE`` AUROC, it is left out.

    Args:
        package: the student, with its teacher if it needs one.
        data: what it was trained and tested on.
        folder: a new or empty folder.

    Returns:
        The package with what was found of its models.

    Raises:
        ExportError: there is no ONNX model, or its scores or AUROC are not PyTorch's.
    """
    wanted = package.config.preprocessing
    expected = package.score(data.test).double().numpy()
    program = program_of(package.scorer(), channels=wanted.channels, image_size=wanted.image_size)
    model = to_onnx(program)
    models = {MODEL: _compared(package, model, data, expected)}
    exact = models[MODEL]
    truth = _evaluated(package, expected, data)["auroc"]
    if exact.difference > TOLERANCE or abs(exact.auroc - truth) > TOLERANCE:
        raise ExportError(
            f"the ONNX model's scores differ from PyTorch's by {exact.difference:.2g} of the "
            f"largest, its AUROC by {abs(exact.auroc - truth):.2g}; {TOLERANCE:g} is allowed. Take "
            "another student: where this one runs, it would not be what was measured"
        )
    # Its scores are the same, so the threshold is too.
    models[MODEL] = exact.model_copy(update={"threshold": package.config.threshold})
    left_out: dict[str, str] = {}
    quantised = to_int8(model, _pixels(data.train))
    small = _compared(package, quantised, data, expected)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model)
    save_program(program, folder / PROGRAM)
    if (lost := exact.auroc - small.auroc) > INT8_MAY_LOSE:
        left_out[INT8_MODEL] = f"int8 loses {lost:.4f} AUROC; {INT8_MAY_LOSE:g} is allowed"
    else:
        models[INT8_MODEL] = small
        (folder / INT8_MODEL).write_bytes(quantised)
    exports = Exports(models=models, left_out=left_out)
    exported = Package(
        package.config.model_copy(update={"exports": exports}), package.weights, package.teacher
    )
    exported.save(folder)
    return exported


def _compared(
    package: Package, model: bytes, data: OneClassData, expected: ScoreArray
) -> ExportedModel:
    """Return how a model scores the test images, beside PyTorch's scores (N,) of them."""
    running = session(model)
    pixels = _pixels(data.test)
    parts = [
        run(running, pixels[start : start + _AT_ONCE]) for start in range(0, len(pixels), _AT_ONCE)
    ]
    scores = np.concatenate(parts).astype(np.float64)
    found = _evaluated(package, scores, data)
    names = ("threshold", "auroc", "val_auroc", "test_auroc")
    return ExportedModel(
        size=len(model),
        difference=float(np.abs(scores - expected).max() / np.abs(expected).max()),
        **{name: found[name] for name in names},
    )


def _evaluated(package: Package, scores: ScoreArray, data: OneClassData) -> Mapping[str, float]:
    holdout = holdout_split(data.labels.numpy())
    protocol = package.config.measured.protocol
    return asdict(evaluate(scores, data.novel.numpy(), holdout, protocol))


def _pixels(images_NCSS: Tensor) -> NDArray[np.float32]:
    """Return images in [-1, 1] as they are before they are scaled, from 0 to 255."""
    pixels: NDArray[np.float32] = ((images_NCSS + 1) * 127.5).numpy()
    return pixels
