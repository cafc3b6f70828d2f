"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import UserError
from orchestrator.executors import EXECUTORS
from orchestrator.planning.storage import is_lost_with_the_job

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


def check_folder(option: str, folder: Path) -> None:
    """Make the folder that an option names, before anything else is done.

    Raises:
        UserError: it cannot be made, or would be lost.
    """
    if is_lost_with_the_job(folder):
        raise UserError(
            f"{option} {folder}: is relative to a Ray job's working directory, which is deleted "
            "with the job; give an absolute path"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{option} {folder}: cannot be made ({error.strerror})") from None
