"""Cost of a method's detectors, before anything is trained."""

from collections.abc import Mapping
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
        found: dict[object, dict[str, Any]] = {}
        for variant in settings.variants(row, ""):
            detector = variant.steps[-1][0].detector
            same = (detector.cost_group, variant.image_size)
            if same not in found:
                found[same] = _profile(variant, batch)
                _add(table, found[same])
        data = {"method": name, "dataset": dataset, "batch": batch}
        return Answer({**data, "detectors": list(found.values())}, table)

    respond(work, as_json, debug)


def _profile(variant: Variant, batch: int) -> dict[str, Any]:
    """Return the costs of a variant's teacher, student and whole detector."""
    detector, size = variant.steps[-1][0].detector, variant.image_size
    scorer = detector.scorer().eval()
    example = torch.zeros(batch, detector.channels, size, size)
    found = measure_cost(scorer, example)
    costs: dict[str, dict[str, float]] = {}
    if (teacher := _teacher_of(variant, scorer)) is not None:
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


def _teacher_of(variant: Variant, scorer: Scorer) -> nn.Module | None:
    """Return the teacher: the network of the chain's first step, or a pretrained one."""
    first, _ = variant.steps[0]
    return first.detector.scorer().student.eval() if first.kind == "teacher" else scorer.teacher


def _add(table: Table, of: Mapping[str, Any]) -> None:
    axes = " ".join(map(short_text, of["axes"].values()))
    table.add_row(f"{axes}, {of['image_size']} x {of['image_size']}")
    for name in ("teacher", "student", "deployed"):
        if name in of:
            row = of[name]
            table.add_row(
                f"  {name}", f"{row['params']:,}", f"{row['flops']:,}", f"{row['latency_ms']:.3f}"
            )
    if "ratio" in of:
        table.add_row("  ratio", *(f"{value:.2f}" for value in of["ratio"].values()))
