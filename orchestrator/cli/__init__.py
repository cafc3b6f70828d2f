"""The command line ``kd``: a file for each command."""

from collections.abc import Callable

import typer

from orchestrator.cli.choose import choose
from orchestrator.cli.doctor import doctor
from orchestrator.cli.download import download
from orchestrator.cli.profile import profile
from orchestrator.cli.report import report
from orchestrator.cli.score import score
from orchestrator.cli.sweep import sweep


def _app() -> typer.Typer:
    return typer.Typer(
        help="Train compact novelty detectors by knowledge distillation, and take them away.",
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )


app = _app()
for _command in (sweep, doctor, report, choose, download, score, profile):
    app.command()(_command)


def run_alone(command: Callable[..., None]) -> None:
    """Run one command as a program of its own."""
    alone = _app()
    alone.command()(command)
    alone()
