"""A scorer as an ONNX model, and as a program of torch.export.

Shapes: B images in a batch, C image channels, S pixels a side.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from kd_models.export.compact import compacted
from kd_models.export.errors import ExportError
from kd_score.detector import INPUT, OUTPUT

OPSET = 20
"""of ONNX"""


class _Deployed(nn.Module):
    """A network that takes pixels as they are stored, from 0 to 255, and scales them itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images / 127.5 - 1)


def program_of(network: nn.Module, *, channels: int, image_size: int) -> ExportedProgram:
    """Return a scorer, or a part of one, as a graph that PyTorch runs; nothing of it is pickled.

    Args:
        network: takes images (B, C, S, S) in [-1, 1].
        channels: C.
        image_size: S.

    Returns:
        A program from ``images``, float32 (B, C, S, S) from 0 to 255, resized as
        ``kd_score.prepare`` does it, to what the network makes of them, such as novelty scores
        (B,); any B from 1.

    Raises:
        ExportError: it cannot be traced.
    """
    example = torch.zeros(2, channels, image_size, image_size)
    with torch.no_grad(), _refused_by("torch.export"):
        return torch.export.export(
            _Deployed(network).eval(), (example,), dynamic_shapes={INPUT: {0: Dim("B", min=1)}}
        )


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a program as ``torch.export.load`` reads it."""
    torch.export.save(program, path)


def to_onnx(program: ExportedProgram) -> bytes:
    """Return a program as an ONNX model, from ``images`` to ``scores`` if it has one output.

    Raises:
        ExportError: ONNX lacks what it does.
    """
    is_single = len(program.graph_signature.user_outputs) == 1
    with warnings.catch_warnings(), _quiet(), _refused_by("torch.onnx"):
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT] if is_single else None,
            verbose=False,
        )
    assert exported is not None
    return compacted(exported.model_proto)


@contextmanager
def _refused_by(exporter: str) -> Iterator[None]:
    """Say in words what an exporter makes of a network that it cannot export."""
    try:
        yield
    except Exception as error:
        what = " ".join(str(error).split())[:300]
        raise ExportError(
            f"{exporter} cannot export its scorer ({type(error).__name__}: {what}); a scorer is "
            "traced: no control flow that depends on data, and no operation that ONNX lacks"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the exporter tell of nothing: neither of its steps nor of what it optimises away."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
