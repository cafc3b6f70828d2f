"""Cost of a teacher and its student, before anything is trained."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Import from the project, not from this folder: its profile.py is not the library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kd_models.complexity import Complexity
from kd_models.data import dataset_row
from kd_models.pkdgan import TEACHER_WIDTHS, NetworkConfig
from kd_models.values import nearest
from orchestrator.cli import Answer, JsonFlag, job, respond
from orchestrator.errors import UserError
from orchestrator.progress import Say
from orchestrator.results import network_cost

METHODS = ("pkdgan",)

app = job()


@app.command()
def profile(
    dataset: Annotated[str, typer.Option(help="Gives channels and the paper's student widths.")],
    method: Annotated[str, typer.Option(help="Distillation method.")] = "pkdgan",
    student_widths: Annotated[
        str | None, typer.Option(help="Such as 8,16,64; default the paper's for the dataset.")
    ] = None,
    teacher_widths: Annotated[str, typer.Option(help="Such as 64,128,256.")] = ",".join(
        map(str, TEACHER_WIDTHS)
    ),
    as_json: JsonFlag = False,
) -> None:
    """Count parameters and FLOPs of a teacher and its student.

    Both are counted by fvcore for one image (one multiply-accumulate = 1 FLOP), generator only,
    as in the paper. The ratios are the true ones; the paper's differ because it divides rounded
    numbers (docs/adr/0001).
    """

    def work(log: Console, say: Say) -> Answer:
        if method not in METHODS:
            raise UserError(
                f"--method {method} is none of {', '.join(METHODS)}{nearest(method, METHODS)}"
            )
        row = dataset_row(dataset)
        widths = row.student_widths
        if student_widths is not None:
            widths = _widths("--student-widths", student_widths)
        teacher = _cost(row.channels, _widths("--teacher-widths", teacher_widths))
        student = _cost(row.channels, widths)
        ratio = {
            "params": teacher.params / student.params,
            "flops": teacher.flops / student.flops,
        }
        data = {
            "teacher": {"params": teacher.params, "flops": teacher.flops},
            "student": {"params": student.params, "flops": student.flops},
            "ratio": ratio,
        }
        table = Table(title=f"{method} on {dataset}, student {'-'.join(map(str, widths))}")
        for heading in ("", "params", "FLOPs"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, cost in (("teacher", teacher), ("student", student)):
            table.add_row(name, f"{cost.params:,}", f"{cost.flops:,}")
        table.add_row("ratio", f"{ratio['params']:.2f}", f"{ratio['flops']:.2f}")
        return Answer(data, table)

    respond(work, as_json)


def _cost(channels: int, widths: tuple[int, int, int]) -> Complexity:
    return network_cost(NetworkConfig(channels=channels, widths=widths))


def _widths(option: str, text: str) -> tuple[int, int, int]:
    try:
        w1, w2, w3 = (int(part) for part in text.split(","))
        if min(w1, w2, w3) < 1:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{option} {text}: expected three positive whole numbers, such as 8,16,64"
        ) from None
    return w1, w2, w3


if __name__ == "__main__":
    app()
