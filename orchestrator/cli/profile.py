"""Cost of a method's detectors, before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from kd_models.data import dataset_row
from kd_models.evaluation.cost import NetworkCost, complexity
from kd_models.evaluation.scoring import Scorer
from kd_models.export.cost import measure_network
from kd_models.methods.base import Variant
from kd_models.methods.registry import methods
from kd_models.values import short_text
from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.planning.sweep_file import method_settings
from orchestrator.reporting.costs import cost_of_detector


def profile(
    dataset: Annotated[
        str, typer.Option(help="Gives channels, and what the method's paper sets by dataset.")
    ],
    method: Annotated[
        str | None, typer.Option(help="A built-in method, or one that an installed package offers.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the method, e.g. student_widths=[[8,16,64]]."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in the batch that is counted.")] = 1,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Count parameters and FLOPs of teachers and students, and measure latency, size and memory.

    Counted by fvcore for one batch (one multiply-accumulate = 1 FLOP), as in the papers.
    `deployed` is all that must run to score images, a pretrained teacher too. Latency is of one
    image, exported to ONNX, on one CPU thread of this machine; --json has that of 32 images and of
    all cores, and the 95th percentile. The ratios are the true ones; the papers' differ because
    they divide rounded numbers (docs/adr/0001).
    """

    def work(log: Console, say: Say) -> Answer:
        row = dataset_row(dataset)
        name = method or next(iter(methods()))
        settings = method_settings(name, overrides or ())
        table = Table(
            title=f"{name} on {dataset}, batch {batch}",
            caption="us: one image on one CPU thread, as exported; ratio: teacher to student",
        )
        for heading in ("", *_SHOWN.values()):
            table.add_column(heading, justify="right" if heading else "left")
        alike: dict[object, list[Variant]] = {}
        for variant in settings.variants(row, None, None):
            detector = variant.steps[-1][0].detector
            alike.setdefault((detector.cost_group, variant.image_size), []).append(variant)
        found = [_profile(variants, batch) for variants in alike.values()]
        for variants, costs in zip(alike.values(), found, strict=True):
            _add(table, _name(variants), costs)
        data = {"method": name, "dataset": dataset, "batch": batch}
        return Answer({**data, "detectors": found}, table)

    respond(work, as_json, debug)


def _profile(variants: Sequence[Variant], batch: int) -> dict[str, Any]:
    """Return the costs of the teacher, student and whole detector that the variants share."""
    variant = variants[0]
    detector, size = variant.steps[-1][0].detector, variant.image_size
    scorer = detector.scorer().eval()
    example = torch.zeros(batch, detector.channels, size, size)
    found = cost_of_detector(detector.cost_group, size)
    student = complexity(scorer.student, example).flops
    beside = 0 if scorer.teacher is None else complexity(scorer.teacher, example).flops
    costs: dict[str, dict[str, float]] = {}
    if (teacher := _teacher_of(variants, scorer)) is not None:
        network, cost = teacher
        costs["teacher"] = _of_batch(cost, complexity(network, example).flops)
    costs["student"] = _of_batch(found.student, student)
    costs["deployed"] = _of_batch(found.deployed, student + beside)
    if "teacher" in costs:
        pairs = {
            name: (costs["teacher"][name], costs["student"][name]) for name in costs["student"]
        }
        costs["ratio"] = {name: teacher / student for name, (teacher, student) in pairs.items()}
    return {"axes": dict(variant.axes), "image_size": size, **costs}


def _name(variants: Sequence[Variant]) -> str:
    """Return the values of the variants' axes, but for weights, which cost nothing."""
    axes = [
        dict.fromkeys(short_text(variant.axes[axis]) for variant in variants)
        for axis, value in variants[0].axes.items()
        if not isinstance(value, Mapping)
    ]
    size = variants[0].image_size
    return f"{' '.join('/'.join(values) for values in axes)}, {size} x {size}"


def _of_batch(cost: NetworkCost, flops: int) -> dict[str, float]:
    return {**cost.model_dump(), "flops": flops}


def _teacher_of(
    variants: Sequence[Variant], scorer: Scorer
) -> tuple[nn.Module, NetworkCost] | None:
    """Return the teacher and its cost: the network of a chain's first step, or a pretrained one."""
    detector, size = variants[0].steps[-1][0].detector, variants[0].image_size
    firsts = [variant.steps[0][0] for variant in variants]
    trained = next((step for step in firsts if step.kind == "teacher"), None)
    if trained is not None:
        network = trained.detector.scorer().student.eval()
        return network, cost_of_detector(trained.detector.cost_group, size).student
    if scorer.teacher is None:
        return None
    cost = measure_network(scorer.teacher, channels=detector.channels, image_size=size)
    return scorer.teacher, cost


_SHOWN = {"params": "params", "flops": "FLOPs", "latency_us": "us", "size_bytes": "ONNX bytes"}
"""headings by cost"""


def _add(table: Table, name: str, costs: Mapping[str, Any]) -> None:
    table.add_row(name)
    for part in ("teacher", "student", "deployed"):
        if part in costs:
            table.add_row(f"  {part}", *(f"{costs[part][name]:,.0f}" for name in _SHOWN))
    if "ratio" in costs:
        table.add_row("  ratio", *(f"{costs['ratio'][name]:.2f}" for name in _SHOWN))
