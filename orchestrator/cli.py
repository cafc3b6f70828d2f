"""What all jobs share: where output goes, and how errors end."""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from kd_models.data import DataError
from kd_models.networks.vgg_weights import WeightsError
from kd_models.package import PackageError
from orchestrator.errors import UserError
from orchestrator.progress import PLAIN_WIDTH, Say

JsonFlag = Annotated[
    bool,
    typer.Option("--json", help="One line of JSON on standard output, everything else on error."),
]


@dataclass(frozen=True)
class Answer:
    """What a job has to say on standard output: for a program, or for a person."""

    data: Any
    text: RenderableType
    exit_code: int = 0


def job() -> typer.Typer:
    """Return an app whose single command is a job."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def respond(work: Callable[[Console, Say], Answer], as_json: bool) -> None:
    """Do the work and print its answer; an error the user can mend ends with exit code 2."""
    log = Console(stderr=True, soft_wrap=True)

    def say(line: str) -> None:
        log.print(line, markup=False, highlight=False)

    # Whatever libraries print belongs to the log: standard output is for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = work(log, say)
        except (UserError, DataError, PackageError, WeightsError) as error:
            log.print(f"error: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(answer.data))
    else:
        out = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        out.print(answer.text, highlight=False, markup=False)
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)
