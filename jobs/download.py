"""Fetch a registered student."""

import shlex
import sys
from pathlib import Path

if __name__ == "__main__":
    # Import from the project, not from this folder: its profile.py is not the library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli import Answer, DebugFlag, JsonFlag, job, respond
from orchestrator.progress import Say
from orchestrator.sweep_file import default_storage

app = job()


@app.command()
def download(
    model: Annotated[str, typer.Argument(help="NAME, NAME@alias or NAME/version.")],
    dest: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow; default $MLFLOW_TRACKING_URI, or below $KD_HOME.")
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Fetch a registered student: weights (safetensors), config.json and a model card.

    NAME alone is its champion. The folder is all that jobs/score.py and
    kd_models.package.Package need to score images, without MLflow, store or Ray.
    """

    def work(log: Console, say: Say) -> Answer:
        from orchestrator.registry import fetch
        from orchestrator.tracking import connect

        client = connect(tracking_uri or default_storage().mlflow_uri)
        config = fetch(client, model, dest).config
        files = sorted(path.name for path in dest.iterdir())
        return Answer(
            {"model": model, "folder": str(dest), "files": files, "config": config.model_dump()},
            f"{model} is in {dest}: {', '.join(files)}. Score images with: "
            f"python jobs/score.py {shlex.quote(str(dest))} IMAGES",
        )

    respond(work, as_json, debug)


if __name__ == "__main__":
    app()
