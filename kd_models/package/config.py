"""What a package says of itself: its ``config.json``."""

from collections.abc import Mapping
from typing import Any, Literal

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.protocol import EvaluationProtocol
from kd_models.methods.registry import AnyDetector
from kd_models.values import Value


class Preprocessing(Value):
    """Steps before scoring: to 8 bits, RGB or grey, bilinear resize, [0, 255] to [-1, 1]."""

    image_size: int
    channels: int
    depth: int | None = None
    """bits in use of images with 16 a sample, which become 8 (see read_image); None where no
    training image had 16"""
    resize: Literal["bilinear"] = "bilinear"
    value_range: tuple[float, float] = (-1.0, 1.0)


class Measured(Value):
    """What was measured of the student where it was trained; see metrics.Evaluation."""

    protocol: EvaluationProtocol
    auroc: float
    val_auroc: float
    test_auroc: float
    gmean: float
    fpr: float
    fnr: float
    cost: Cost
    """measured on the machine that the sweep was run from"""


class OverSeeds(Value):
    """The AUROC of a configuration on one task, over its seeds; no spread of one seed."""

    seeds: int
    auroc_mean: float
    auroc_spread: float | None = None
    test_auroc_mean: float
    test_auroc_spread: float | None = None


class ExportedModel(Value):
    """A file that scores images without PyTorch, and how it compares with PyTorch."""

    size: int
    """bytes"""
    threshold: float
    """a score of this model at or above it is called novel"""
    auroc: float
    val_auroc: float
    test_auroc: float
    difference: float
    """the largest difference to PyTorch's score of a test image, as a share of the largest score"""


class Exports(Value):
    """The exported models of a package, by file name."""

    models: Mapping[str, ExportedModel]
    left_out: Mapping[str, str] = {}
    """why there is no such file"""


class PackageConfig(Value):
    """Everything in a package but the weights."""

    format: Literal[1] = 1
    axes: Mapping[str, Any]
    """what sets the student apart from the sweep's others"""
    dataset: str
    normal_class: str
    normal_class_name: str
    seed: int
    stage_key: str
    fingerprint: str
    """of the images that it was trained and tested on"""
    detector: AnyDetector
    preprocessing: Preprocessing
    threshold: float
    """a score at or above it is called novel"""
    measured: Measured
    over_seeds: OverSeeds | None = None
    """None where the student was not chosen yet"""
    exports: Exports | None = None
    """None where the student was not chosen yet: what is chosen is exported"""
