"""A downloaded detector: which files it is made of, and how it scores an image."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kd_score.errors import DataError, PackageError
from kd_score.names import printable, shown
from kd_score.prepare import prepared
from kd_score.read_image import RawImage, highest

CONFIG, SUMS = "config.json", "SHA256SUMS"
MODEL, INT8_MODEL = "model.onnx", "model.int8.onnx"
INPUT, OUTPUT = "images", "scores"
"""names of the model's one input, float32 (B, C, S, S) from 0 to 255, and one output, (B,)"""

_AGAIN = "kd download fetches it again"


@dataclass(frozen=True)
class Preparation:
    """How an image is prepared, and from which score on it is novel.

    Attributes:
        image_size: pixels a side that the model takes.
        channels: 1 or 3.
        depth: the bits in use of images with 16 a sample; None where it was trained on none.
        threshold: a score at or above it is novel.
    """

    image_size: int
    channels: int
    depth: int | None
    threshold: float

    @classmethod
    def of(cls, config: Mapping[str, Any], model: str) -> Self:
        """Return what a package's ``config.json`` says for one of its models.

        Raises:
            KeyError, TypeError, ValueError: it does not say so.
        """
        wanted = config["preprocessing"]
        depth = wanted["depth"]
        return cls(
            image_size=int(wanted["image_size"]),
            channels=int(wanted["channels"]),
            depth=None if depth is None else int(depth),
            threshold=float(config["exports"]["models"][model]["threshold"]),
        )


class Detector:
    """A package's exported model, run by ONNX Runtime.

    Args:
        folder: made by kd download.
        int8: whether the quantised model is wanted.
        threads: that one image may use.

    Raises:
        PackageError: a file is missing, changed or damaged, or there is no such model; the message
            names it.
    """

    def __init__(self, folder: Path, *, int8: bool = False, threads: int = 1) -> None:
        check_sums(folder)
        name = INT8_MODEL if int8 else MODEL
        if not (folder / name).is_file():
            raise PackageError(
                f"{shown(folder)} has no {name}"
                + (": int8 lost too much (README.md says how much)" if int8 else f"; {_AGAIN}")
            )
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            self.preparation = Preparation.of(config, name)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackageError(
                f"{shown(folder / CONFIG)} is damaged: {error!r}; {_AGAIN}"
            ) from None
        try:
            self._session = session((folder / name).read_bytes(), threads)
        except Exception as error:  # ONNX Runtime has no common class of errors
            raise PackageError(f"{shown(folder / name)} cannot be run: {error}") from None

    def score(self, image: RawImage) -> float:
        """Return an image's novelty score.

        Raises:
            DataError: the score is not finite.
        """
        wanted = self.preparation
        pixels = image.in_8_bits(wanted.depth)
        image_CSS = prepared(pixels, image_size=wanted.image_size, channels=wanted.channels)
        return float(self.scores(image_CSS[None])[0])

    def scores(self, images_BCSS: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the novelty scores (B,) of prepared images.

        Raises:
            DataError: a score is not finite.
        """
        scores = run(self._session, images_BCSS)
        if not np.isfinite(scores).all():
            raise DataError("the detector's score is not finite")
        return scores

    @property
    def threshold(self) -> float:
        """Return the score from which on an image is novel."""
        return self.preparation.threshold

    def warning(self, image: RawImage) -> str | None:
        """Return what a person should know of how an image is read, if anything."""
        depth = self.preparation.depth
        if not image.deep:
            return None
        if depth is None:
            return (
                "has 16 bits a sample, and no image that the detector was trained with: 0 to "
                f"{highest(None)} is read as black to white"
            )
        if image.levels.high > highest(depth):
            return (
                f"has values above {highest(depth)}, the most that the {depth} bits hold that the "
                "detector was trained with, and is white there"
            )
        return None


def session(model: bytes, threads: int | None = None) -> Any:
    """Return an ONNX model, ready to run on the CPU.

    Args:
        model: the model.
        threads: that it may use; None for all cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: Any, images_BCSS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores (B,) of prepared images by a :func:`session`."""
    scores: NDArray[np.float32]
    (scores,) = session.run([OUTPUT], {INPUT: images_BCSS})
    return scores


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write ``SHA256SUMS`` of files in a folder, as ``sha256sum -c`` reads it."""
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in sorted(names)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Check that a package's files are those that were written.

    Raises:
        PackageError: a file is missing or changed; the message names it.
    """
    for name in _sums(folder):
        check_file(folder, name)


def check_file(folder: Path, name: str) -> None:
    """Check that one of a package's files is the one that was written.

    Raises:
        PackageError: it is missing or changed; the message names it.
    """
    wanted = _sums(folder).get(name)
    if not (folder / name).is_file():
        raise PackageError(f"{shown(folder)} is not whole: {name} is missing; {_AGAIN}")
    if wanted is None or _sha256(folder / name) != wanted:
        raise PackageError(
            f"{shown(folder / name)} was changed or is damaged: its SHA-256 is not that in "
            f"{SUMS}; {_AGAIN}"
        )


def _sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 by file name that SHA256SUMS lists.

    Raises:
        PackageError: it is missing or damaged.
    """
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise PackageError(
            f"{shown(folder)} is no detector's package: {SUMS} is missing; kd download makes one"
        ) from None
    found: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise PackageError(f"{shown(folder / SUMS)} is damaged: {printable(line)}; {_AGAIN}")
        found[name] = digest
    if not found:
        raise PackageError(f"{shown(folder / SUMS)} is empty; {_AGAIN}")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
