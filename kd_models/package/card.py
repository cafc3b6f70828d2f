"""A package's model card: for people, with the metadata that the Hugging Face Hub reads."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from kd_models.data import DataError, dataset_row
from kd_models.package.config import OverSeeds, PackageConfig, Preprocessing
from kd_models.values import short_text
from kd_score.detector import INT8_MODEL, MODEL


def model_card(config: PackageConfig) -> str:
    """Return a model card in Markdown: what the detector is, how good, and how to use it."""
    m, p = config.measured, config.preprocessing
    where = "on the whole test split" if m.protocol == "paper" else "on the second half"
    axes = ", ".join(f"{name} {short_text(value)}" for name, value in config.axes.items())
    dataset, normal_class = _code(config.dataset), _code(config.normal_class_name)
    shape = f"(N, {p.channels}, {p.image_size}, {p.image_size})"
    metadata = yaml.safe_dump(_metadata(config), sort_keys=False, allow_unicode=True)
    return f"""---
{metadata}---

# Novelty detector: {dataset}, normal class {normal_class}

A {config.detector.method} student ({axes}, seed {config.seed}). It was trained on normal images
alone; a score at or above the threshold calls an image novel.

| AUROC (whole test split) | validation half | test half | threshold | gmean | FPR | FNR |
|---|---|---|---|---|---|---|
| {m.auroc:.4f} | {m.val_auroc:.4f} | {m.test_auroc:.4f} | {config.threshold:.6g} \
| {m.gmean:.4f} | {m.fpr:.4f} | {m.fnr:.4f} |

Protocol {m.protocol}: gmean, FPR (normal images flagged) and FNR (novel images missed) were
measured {where} of the test images. {_spread(config.over_seeds)}

| cost of one image | parameters | multiply-accumulates | latency | 95th percentile \
| bytes of ONNX | bytes of memory |
|---|---|---|---|---|---|---|
{_cost_rows(config)}

Latency is of the exported model on one CPU thread of the machine that the sweep was run from;
memory is the most that a process took there, with Python and ONNX Runtime.

## Models

{_models(config)}

## Images

{p.channels} channel(s), {p.resize} resize with antialiasing to exactly {p.image_size} x \
{p.image_size} pixels. {_deep(p)}
The ONNX models take a batch of such images, `images`, float32 {shape}
with values from 0 to 255, not rounded after the resize, and scale them to {list(p.value_range)}
themselves; they return `scores`, (N,).

## Use

Without PyTorch, with the package kd-score (ONNX Runtime, NumPy, Pillow):

```
kd-score FOLDER IMAGES
```

With this project: `kd score FOLDER IMAGES`, or in Python

```python
from kd_models.package import Package
scores = Package.load(folder).score(images)  # {shape} in {list(p.value_range)}
```

`sha256sum -c SHA256SUMS` says whether a file was changed; so does kd-score.

## Licence

{_licence(config)}

Stage key `{config.stage_key}`.
"""


def _metadata(config: PackageConfig) -> dict[str, Any]:
    licence = "other" if config.detector.pretrained_sha256 else _licence_of(config.dataset)
    named = {"license_name": "see-below"} if licence == "other" else {}
    return {
        "license": licence,
        **named,
        "library_name": "onnx",
        "tags": ["novelty-detection", "anomaly-detection", config.detector.method],
        "metrics": ["roc_auc"],
        "model-index": [
            {
                "name": f"{config.dataset} {config.normal_class_name}",
                "results": [
                    {
                        "task": {"type": "anomaly-detection", "name": "Novelty detection"},
                        "dataset": {
                            "type": config.dataset,
                            "name": f"{config.dataset}, normal class {config.normal_class_name}",
                            "split": "test",
                        },
                        "metrics": list(_metrics(config)),
                    }
                ],
            }
        ],
    }


def _metrics(config: PackageConfig) -> Iterator[dict[str, Any]]:
    m, over = config.measured, config.over_seeds
    yield {"type": "roc_auc", "name": "AUROC (whole test split)", "value": round(m.auroc, 6)}
    yield {"type": "roc_auc", "name": "AUROC (test half)", "value": round(m.test_auroc, 6)}
    if over is not None:
        name = f"AUROC (whole test split), mean of {over.seeds} seeds"
        if over.auroc_spread is not None:
            name += f" +- {over.auroc_spread:.4f}"
        yield {"type": "roc_auc", "name": name, "value": round(over.auroc_mean, 6)}


def _spread(over: OverSeeds | None) -> str:
    if over is None:
        return ""
    if over.auroc_spread is None or over.test_auroc_spread is None:
        return "One seed was trained, so how far another may differ is not known."
    return (
        f"Over {over.seeds} seeds of this configuration the AUROC is {over.auroc_mean:.4f} +- "
        f"{over.auroc_spread:.4f} on the whole test split and {over.test_auroc_mean:.4f} +- "
        f"{over.test_auroc_spread:.4f} on the test half (mean and standard deviation)."
    )


def _models(config: PackageConfig) -> str:
    exports = config.exports
    if exports is None:
        return "Not exported: a student is exported when it is registered."
    rows = [
        f"| `{name}` | {one.size:,} | {one.auroc:.4f} | {one.test_auroc:.4f} "
        f"| {one.threshold:.6g} | {one.difference:.1e} |"
        for name, one in exports.models.items()
    ]
    left_out = [f"There is no `{name}`: {why}." for name, why in exports.left_out.items()]
    kinds = (
        f"`{MODEL}` is in single precision, `{INT8_MODEL}` in 8 bits, calibrated on normal images. "
        "`model.pt2` is the first one for PyTorch: `torch.export.load`."
    )
    return "\n".join(
        [
            kinds,
            "",
            "| file | bytes | AUROC | test half | threshold | largest difference to PyTorch |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "Differences are of scores, as a share of the largest score.",
            *left_out,
        ]
    )


def _deep(preprocessing: Preprocessing) -> str:
    depth = preprocessing.depth
    if depth is None:
        return "No training image had 16 bits a sample."
    return f"Of images with 16 bits a sample {depth} bits are in use."


def _licence_of(dataset: str) -> str:
    try:
        return dataset_row(dataset).licence
    except DataError:
        return "other"


def _licence(config: PackageConfig) -> str:
    known = _licence_of(config.dataset)
    images = "your own" if known == "other" else f"under {known}"
    if known == "other" and ":" not in config.dataset:
        images = "under terms of their own, which its authors state"
    text = (
        f"The weights were made from the images of {_code(config.dataset)}, which are {images}. "
        "Whether a licence of images binds what was trained on them is not settled everywhere."
    )
    if config.detector.pretrained_sha256:
        text += (
            " The teacher that is part of this detector was trained on ImageNet, whose images are "
            "for non-commercial research."
        )
    return text


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
