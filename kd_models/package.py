"""A student's package: a folder that scores images without sweep, store or tracking server."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kd_models.evaluation.cost import Cost
from kd_models.evaluation.protocol import EvaluationProtocol
from kd_models.evaluation.scoring import Scorer, batch_of, in_batches
from kd_models.methods.base import Detector, PretrainedWeights, StateDict
from kd_models.methods.registry import AnyDetector
from kd_models.values import Value, short_text
from kd_score.detector import CONFIG, check_sums, write_sums
from kd_score.errors import PackageError

WEIGHTS, TEACHER, CARD = "model.safetensors", "teacher.safetensors", "README.md"


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
    exports: Exports | None = None
    """None where the student was not chosen yet: what is chosen is exported"""


@dataclass(frozen=True)
class Package:
    """A student that scores images, with the teacher it needs beside it, if any."""

    config: PackageConfig
    weights: StateDict
    teacher: StateDict | None = field(default=None, repr=False)

    def scorer(self) -> Scorer:
        """Return the network, ready to score.

        Raises:
            PackageError: the student needs a teacher, and the package lacks it.
        """
        detector: Detector = self.config.detector
        if detector.pretrained_sha256 and self.teacher is None:
            raise PackageError(f"{TEACHER} is missing; kd download fetches it too")
        scorer = detector.scorer()
        scorer.load(self.weights, self.teacher)
        return scorer.eval()

    def score(self, images: Tensor) -> Tensor:
        """Return the novelty scores (N,) of preprocessed images (N, C, S, S)."""
        return in_batches(self.scorer(), images, batch_of(images))

    def save(self, folder: Path) -> None:
        """Write weights, config, model card and checksums into ``folder``.

        Exported models that lie there stay part of the package; without them it has none.
        """
        exports = self.config.exports
        models = [name for name in (exports.models if exports else ()) if (folder / name).is_file()]
        config = self.config if models else self.config.model_copy(update={"exports": None})
        folder.mkdir(parents=True, exist_ok=True)
        _save(self.weights, folder / WEIGHTS)
        if self.teacher is not None:
            _save(self.teacher, folder / TEACHER)
        (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(config), encoding="utf-8")
        with_teacher = [TEACHER] if self.teacher is not None else []
        write_sums(folder, [WEIGHTS, CONFIG, CARD, *with_teacher, *models])

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a package.

        Raises:
            PackageError: a file is missing or damaged; the message names it.
        """
        check_sums(folder)
        try:
            config = PackageConfig.model_validate_json((folder / CONFIG).read_bytes())
            teacher = load_file(folder / TEACHER) if (folder / TEACHER).is_file() else None
            package = cls(config, load_file(folder / WEIGHTS), teacher)
            package.scorer()
            wanted = config.detector.pretrained_sha256
            if teacher is not None and PretrainedWeights(teacher).sha256 != wanted:
                raise ValueError(f"{TEACHER} is not the teacher that the student learned from")
        except PackageError as error:
            raise PackageError(f"{folder} is not whole: {error}") from None
        except (ValidationError, ValueError, SafetensorError, RuntimeError, OSError) as error:
            raise PackageError(f"{folder} is damaged: {error}") from None
        return package


def _save(weights: StateDict, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def model_card(config: PackageConfig) -> str:
    """Return a model card in Markdown: what the student is, how good, and how to use it."""
    m, p = config.measured, config.preprocessing
    where = "on the whole test split" if m.protocol == "paper" else "on the second half"
    axes = ", ".join(f"{name} {short_text(value)}" for name, value in config.axes.items())
    dataset, normal_class = _code(config.dataset), _code(config.normal_class_name)
    return f"""# Novelty detector: {dataset}, normal class {normal_class}

A {config.detector.method} student ({axes}, seed {config.seed}). It was trained on normal images
alone; a score at or above the threshold calls an image novel.

| AUROC (whole test split) | validation half | test half | threshold | gmean | FPR | FNR |
|---|---|---|---|---|---|---|
| {m.auroc:.4f} | {m.val_auroc:.4f} | {m.test_auroc:.4f} | {config.threshold:.6g} \
| {m.gmean:.4f} | {m.fpr:.4f} | {m.fnr:.4f} |

Protocol {m.protocol}: gmean, FPR (normal images flagged) and FNR (novel images missed) were
measured {where} of the test images.

| cost of one image | parameters | multiply-accumulates | latency | 95th percentile \
| bytes of ONNX | bytes of memory |
|---|---|---|---|---|---|---|
{_cost_rows(config)}

Latency is of the exported model on one CPU thread of the machine that the sweep was run from;
memory is the most that a process took there, with Python and ONNX Runtime.

Preprocessing: {p.channels} channel(s), {p.resize} resize to {p.image_size} x {p.image_size},
values in {list(p.value_range)}. {_deep(p)}

Stage key `{config.stage_key}`.

Score images with `kd score FOLDER IMAGES`, or in Python:

```python
from kd_models.package import Package
scores = Package.load(folder).score(images)  # (N, {p.channels}, {p.image_size}, {p.image_size})
```
"""


def _deep(preprocessing: Preprocessing) -> str:
    depth = preprocessing.depth
    if depth is None:
        return "No training image had 16 bits a sample."
    return f"Of images with 16 bits a sample {depth} bits are in use."


def _code(name: str) -> str:
    """Return a name as Markdown code, so that nothing in it is read as markup."""
    fence = "`" * (1 + max(map(len, re.findall("`+", name)), default=0))
    space = " " if "`" in name else ""
    return f"{fence}{space}{name}{space}{fence}"


def _cost_rows(config: PackageConfig) -> str:
    cost = config.measured.cost
    rows = {"deployed": cost.deployed}
    if config.detector.pretrained_sha256:
        rows = {"student alone": cost.student, "deployed, teacher and student": cost.deployed}
    return "\n".join(
        f"| {name} | {one.params:,} | {one.flops:,} | {one.latency_us:,.0f} us | "
        f"{one.latency_us_p95:,.0f} us | {one.size_bytes:,} | {one.peak_memory_bytes:,} |"
        for name, one in rows.items()
    )
