"""The registered model: what ``mlflow models serve`` and ``mlflow.pyfunc.load_model`` run.

MLflow keeps this file with the model, and kd_score beside it: neither PyTorch nor this project is
needed where it is served.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from kd_score.detector import Detector
from kd_score.errors import DataError
from kd_score.read_image import MAX_MEGAPIXELS, RawImage, decode

COLUMN = "image"
_EXPECTED = (
    f"expected a column {COLUMN} of encoded images (their files' bytes, in JSON as base64), or an "
    "array of pixels from 0 to 255, (N, H, W) or (N, H, W, 3)"
)


class ServedDetector(PythonModel):
    """A detector's package, served."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package that lies with the model."""
        self._detector = Detector(Path(context.artifacts["package"]))

    # MLflow takes a type hint of the input for its schema, and this takes two kinds.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Return a row for each image: ``score`` and ``verdict``, normal or novel.

        Args:
            context: unused.
            model_input: a data frame whose column ``image`` has encoded images, or an array of
                pixels, uint8 from 0 to 255, (N, H, W) or (N, H, W, 3).
            params: unused.
        """
        scores = [self._detector.score(image) for image in _images(model_input)]
        verdicts = ["novel" if s >= self._detector.threshold else "normal" for s in scores]
        return pd.DataFrame({"score": scores, "verdict": verdicts})


def _images(given: Any) -> list[RawImage]:
    """Return the images of a request.

    Raises:
        DataError: there are none in it, or one cannot be read; the message says which.
    """
    if isinstance(given, pd.DataFrame):
        if list(given.columns) != [COLUMN]:
            raise DataError(f"the columns are {list(given.columns)}; {_EXPECTED}")
        return [_decoded(value, row) for row, value in enumerate(given[COLUMN])]
    pixels = np.asarray(given)
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3):
        raise DataError(f"the array has shape {pixels.shape}; {_EXPECTED}")
    whole = np.issubdtype(pixels.dtype, np.integer) or (
        np.issubdtype(pixels.dtype, np.floating) and bool((pixels == np.rint(pixels)).all())
    )
    if not whole or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 255:
        raise DataError(f"the array's values are no whole numbers from 0 to 255; {_EXPECTED}")
    return [RawImage(image) for image in pixels.astype(np.uint8)]


def _decoded(value: Any, row: int) -> RawImage:
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise DataError(f"image {row} is no base64; {_EXPECTED}") from None
    if not isinstance(value, bytes):
        raise DataError(f"image {row} is {type(value).__name__}; {_EXPECTED}")
    return decode(value, Path(f"image {row}"), max_megapixels=MAX_MEGAPIXELS)


set_model(ServedDetector())
