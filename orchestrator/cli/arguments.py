"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.executors import EXECUTORS

SweepFile = Annotated[Path, typer.Argument(help="Sweep file; jobs/sweeps/ has examples.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting of the file, e.g. training.epochs=3."),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster; default $RAY_ADDRESS, else a local Ray is started."),
]
ExecutorName = Annotated[
    str, typer.Option(help=f"Where stages train: {' or '.join(EXECUTORS)} (this process).")
]
DEFAULT_EXECUTOR = next(iter(EXECUTORS))
