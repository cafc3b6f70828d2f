"""A student to take away: a folder that scores images without sweep, store or tracking server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kd_models.losses import Distance
from kd_models.pkdgan import NetworkConfig, NoveltyScorer, in_batches
from kd_models.protocol import Protocol
from kd_models.values import Value

WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "README.md"


class PackageError(ValueError):
    """The folder is not a student's package, or is damaged."""


class Preprocessing(Value):
    """What an image goes through: RGB or grey, bilinear resize, then [0, 255] to [-1, 1]."""

    image_size: int
    channels: int
    resize: Literal["bilinear"] = "bilinear"
    value_range: tuple[float, float] = (-1.0, 1.0)


class Measured(Value):
    """How the student did where it was trained; see metrics.Evaluation."""

    protocol: Protocol
    auroc: float
    val_auroc: float
    test_auroc: float
    gmean: float
    fpr: float
    fnr: float
    params: int
    flops: int


class PackageConfig(Value):
    """Everything but the weights."""

    format: Literal[1] = 1
    method: str
    structure: str
    dataset: str
    normal_class: str
    normal_class_name: str
    seed: int
    stage_key: str
    network: NetworkConfig
    distance: Distance
    preprocessing: Preprocessing
    threshold: float
    """a score at or above it is called novel"""
    measured: Measured


@dataclass(frozen=True)
class Package:
    """A student that scores images."""

    config: PackageConfig
    weights: Mapping[str, Tensor]

    def scorer(self) -> NoveltyScorer:
        """Return the network, ready to score."""
        generator = self.config.network.generator()
        generator.load_state_dict(dict(self.weights))
        return NoveltyScorer(generator, self.config.distance).eval()

    def score(self, images: Tensor) -> Tensor:
        """Return the novelty scores (N,) of preprocessed images (N, C, S, S)."""
        return in_batches(self.scorer(), images)

    def save(self, folder: Path) -> None:
        """Write weights, config and model card."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in self.weights.items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(self.config.model_dump_json(indent=2) + "\n")
        (folder / CARD).write_text(model_card(self.config))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a package.

        Raises:
            PackageError: a file is missing or damaged; the message names it.
        """
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise PackageError(
                    f"{folder} is no student's package: {name} is missing; "
                    "jobs/download.py makes one"
                )
        try:
            config = PackageConfig.model_validate(json.loads((folder / CONFIG).read_text()))
            package = cls(config, load_file(folder / WEIGHTS))
            package.scorer()
        except (ValidationError, ValueError, SafetensorError, RuntimeError, OSError) as error:
            raise PackageError(f"{folder} is damaged: {error}") from None
        return package


def model_card(config: PackageConfig) -> str:
    """Say in Markdown what the student is, how good, and how to use it."""
    m, p = config.measured, config.preprocessing
    where = "on the whole test split" if m.protocol == "paper" else "on the second half"
    return f"""# Novelty detector: {config.dataset}, normal class {config.normal_class_name}

A {config.method} student (structure {config.structure}, widths
{"-".join(map(str, config.network.widths))}, seed {config.seed}): {m.params:,} parameters,
{m.flops:,} multiply-accumulates an image. It was trained on normal images alone; a score at or
above the threshold calls an image novel.

| AUROC (whole test split) | validation half | test half | threshold | gmean | FPR | FNR |
|---|---|---|---|---|---|---|
| {m.auroc:.4f} | {m.val_auroc:.4f} | {m.test_auroc:.4f} | {config.threshold:.6g} \
| {m.gmean:.4f} | {m.fpr:.4f} | {m.fnr:.4f} |

Protocol {m.protocol}: gmean, FPR (normal images flagged) and FNR (novel images missed) were
measured {where} of the test images.

Preprocessing: {p.channels} channel(s), {p.resize} resize to {p.image_size} x {p.image_size},
values in {list(p.value_range)}.

Stage key `{config.stage_key}`.

Score images with `python jobs/score.py FOLDER IMAGES`, or in Python:

```python
from kd_models.package import Package
scores = Package.load(folder).score(images)  # (N, {p.channels}, {p.image_size}, {p.image_size})
```
"""
