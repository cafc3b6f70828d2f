"""Cost of a method's detectors, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from kd_models.data import dataset_row
from kd_models.evaluation.cost import complexity, latency_ms, measure_cost
from kd_models.evaluation.scoring import Scorer
from kd_models.methods.base import Variant
from kd_models.methods.registry import methods
from kd_models.values import short_text
from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.planning.sweep_file import method_settings


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
    """Count parameters and FLOPs of teachers and students, and measure their latency.

    Counted by fvcore for one batch (one multiply-accumulate = 1 FLOP), as in the papers.
    `deployed` is all that must run to score images, a pretrained teacher too. Latency is the
    batch's, in eager PyTorch on one CPU thread of this machine. The ratios are the true ones; the
    papers' differ because they divide rounded numbers (docs/adr/0001).
    """

    def work(log: Console, say: Say) -> Answer:
        row = dataset_row(dataset)
        name = method or next(iter(methods()))
        settings = method_settings(name, overrides or ())
        table = Table(
            title=f"{name} on {dataset}, batch {batch}",
            caption="latency: one CPU thread; ratio: teacher to student",
        )
        for heading in ("", "params", "FLOPs", "ms"):
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
    found = measure_cost(scorer, example)
    costs: dict[str, dict[str, float]] = {}
    if (teacher := _teacher_of(variants, scorer)) is not None:
        counted = asdict(complexity(teacher, example))
        costs["teacher"] = {**counted, "latency_ms": latency_ms(teacher, example)}
    costs["student"] = {
        "params": found.student_params,
        "flops": found.student_flops,
        "latency_ms": found.student_latency_ms,
    }
    costs["deployed"] = {
        "params": found.params,
        "flops": found.flops,
        "latency_ms": found.latency_ms,
    }
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


def _teacher_of(variants: Sequence[Variant], scorer: Scorer) -> nn.Module | None:
    """Return the teacher: the network of a chain's first step, or a pretrained one."""
    firsts = [variant.steps[0][0] for variant in variants]
    trained = next((step for step in firsts if step.kind == "teacher"), None)
    return scorer.teacher if trained is None else trained.detector.scorer().student.eval()


def _add(table: Table, name: str, costs: Mapping[str, Any]) -> None:
    table.add_row(name)
    for part in ("teacher", "student", "deployed"):
        if part in costs:
            row = costs[part]
            table.add_row(
                f"  {part}", f"{row['params']:,}", f"{row['flops']:,}", f"{row['latency_ms']:.3f}"
            )
    if "ratio" in costs:
        table.add_row("  ratio", *(f"{value:.2f}" for value in costs["ratio"].values()))
