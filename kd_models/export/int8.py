"""An ONNX model with weights and activations of 8 bits, calibrated on normal images.

Shapes: N images, C image channels, S pixels a side.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kd_models.export.compact import compacted
from kd_score.detector import INPUT

CALIBRATION_IMAGES = 512
"""the most that ranges of activations are taken from, evenly chosen"""
_QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def to_int8(model: bytes, images_NCSS: NDArray[np.float32]) -> bytes:
    """Return an ONNX model whose convolutions and matrix products are computed in 8 bits.

    Static quantisation by ONNX Runtime, in the QDQ form: what devices' runtimes read.

    Args:
        model: in single precision, from :func:`kd_models.export.onnx_model.to_onnx`.
        images_NCSS: prepared normal training images, values from 0 to 255.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            step = max(1, len(images_NCSS) // CALIBRATION_IMAGES)
            self._left = iter(images_NCSS[::step])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {INPUT: image[None]}

    before = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        whole, simplified, quantised = (Path(folder, name) for name in ("f", "s", "q"))
        whole.write_bytes(model)
        logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
        try:
            quant_pre_process(whole, simplified, skip_symbolic_shape=True)
            options: dict[str, Any] = {"WeightSymmetric": True}
            quantize_static(
                simplified,
                quantised,
                Images(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                extra_options=options,
            )
        finally:
            logging.getLogger().setLevel(before)
        return compacted(onnx.load(quantised))
