"""Cost of a teacher and its student, before anything is trained."""

import re
import sys
from pathlib import Path

if __name__ == "__main__":
    # Import from the project, not from this folder: its profile.py is not the library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from kd_models.complexity import complexity, cost, latency_ms
from kd_models.data import DatasetRow, dataset_row
from kd_models.eca_mkdad import SCORING_LAYERS, FeatureDetector, StudentConfig
from kd_models.networks.gan import IMAGE_SIZE
from kd_models.networks.vgg import SMALLEST_IMAGE, STUDENT_BLOCKS, Teacher
from kd_models.pkdgan import TEACHER_WIDTHS, GanDetector, NetworkConfig
from kd_models.placements import PLACEMENTS
from kd_models.placements import placement as placement_of
from kd_models.step import Detector
from kd_models.values import nearest
from orchestrator.cli import Answer, DebugFlag, JsonFlag, job, respond
from orchestrator.errors import UserError
from orchestrator.methods import METHODS
from orchestrator.progress import Say

app = job()


@app.command()
def profile(
    dataset: Annotated[str, typer.Option(help="Gives image size, channels and default widths.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "pkdgan",
    student_widths: Annotated[
        str | None,
        typer.Option(
            help="pkdgan: such as 8,16,64; default the paper's for the dataset. "
            "eca_mkdad: lightweight or full."
        ),
    ] = None,
    teacher_widths: Annotated[
        str | None, typer.Option(help="pkdgan: such as 64,128,256, which is the default.")
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(help=f"eca_mkdad: one of {', '.join(PLACEMENTS)}; default eca."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="eca_mkdad: pixels a side; default the dataset's.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in the batch that is counted.")] = 1,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Count parameters and FLOPs of a teacher and its student, and measure their latency.

    Counted by fvcore for one batch (one multiply-accumulate = 1 FLOP), as in the papers; of
    pkdgan the generator only. `deployed` is all that must run to score images: of eca_mkdad the
    teacher too. Latency is the batch's, in eager PyTorch on one CPU thread of this machine.
    The ratios are the true ones; the papers' differ because they divide rounded numbers
    (docs/adr/0001).
    """

    def work(log: Console, say: Say) -> Answer:
        row = dataset_row(dataset)
        if method == "pkdgan":
            _not_of(method, {"--placement": placement, "--image-size": image_size})
            title, teacher, detector = _pkdgan(row, student_widths, teacher_widths)
            size = IMAGE_SIZE
        elif method == "eca_mkdad":
            _not_of(method, {"--teacher-widths": teacher_widths})
            title, teacher, detector = _eca_mkdad(placement or "eca", student_widths)
            size = row.image_size if image_size is None else image_size
            if size < SMALLEST_IMAGE:
                raise UserError(f"--image-size {size}: expected at least {SMALLEST_IMAGE}")
        else:
            raise UserError(
                f"--method {method} is none of {', '.join(METHODS)}{nearest(method, METHODS)}"
            )
        scorer = detector.scorer().eval()
        example = torch.zeros(batch, detector.channels, size, size)
        found = cost(scorer, example)
        costs: dict[str, dict[str, float]] = {
            "teacher": {
                **asdict(complexity(teacher, example)),
                "latency_ms": latency_ms(teacher, example),
            },
            "student": {
                "params": found.student_params,
                "flops": found.student_flops,
                "latency_ms": found.student_latency_ms,
            },
            "deployed": {
                "params": found.params,
                "flops": found.flops,
                "latency_ms": found.latency_ms,
            },
        }
        ratio = {name: costs["teacher"][name] / costs["student"][name] for name in costs["teacher"]}
        table = Table(
            title=f"{method} on {dataset}, {title}, batch {batch} x {size} x {size}",
            caption="latency: one CPU thread; ratio: teacher to student",
        )
        for heading in ("", "params", "FLOPs", "ms"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, of in costs.items():
            table.add_row(name, f"{of['params']:,}", f"{of['flops']:,}", f"{of['latency_ms']:.3f}")
        table.add_row("ratio", *(f"{value:.2f}" for value in ratio.values()))
        return Answer({**costs, "ratio": ratio}, table)

    respond(work, as_json, debug)


def _not_of(method: str, options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value is not None:
            raise UserError(f"{option} {value}: is no option of --method {method}")


def _pkdgan(
    row: DatasetRow, student_widths: str | None, teacher_widths: str | None
) -> tuple[str, nn.Module, Detector]:
    widths = row.student_widths
    if student_widths is not None:
        widths = _widths("--student-widths", student_widths)
    of_teacher = TEACHER_WIDTHS
    if teacher_widths is not None:
        of_teacher = _widths("--teacher-widths", teacher_widths)
    student, teacher = (
        NetworkConfig(channels=row.channels, widths=w) for w in (widths, of_teacher)
    )
    title = f"student {'-'.join(map(str, widths))}"
    return title, teacher.generator(), GanDetector(network=student, distance="l2")


def _eca_mkdad(placement: str, width: str | None) -> tuple[str, nn.Module, Detector]:
    width = width or "lightweight"
    if width not in STUDENT_BLOCKS:
        raise UserError(
            f"--student-widths {width} is none of {', '.join(STUDENT_BLOCKS)}"
            f"{nearest(width, STUDENT_BLOCKS)}"
        )
    try:
        name = placement_of(placement).name
    except ValueError as error:
        raise UserError(f"--placement: {error}") from None
    detector = FeatureDetector(
        student=StudentConfig(placement=name, width=width),  # type: ignore[arg-type]
        layers=SCORING_LAYERS,
        lambda_=0,
        teacher="",
    )
    return f"student {name} {width}", Teacher(), detector


def _widths(option: str, text: str) -> tuple[int, int, int]:
    # int() would also read 0_8 and digits of other scripts.
    found = re.fullmatch(",".join([r" *([1-9][0-9]{0,5}) *"] * 3), text)
    if found is None:
        raise UserError(f"{option} {text}: expected three positive whole numbers, such as 8,16,64")
    w1, w2, w3 = map(int, found.groups())
    return w1, w2, w3


if __name__ == "__main__":
    app()
