"""Fetch a registered student."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.planning.sweep_file import default_storage


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

    NAME alone is its champion. The folder is all that kd score and
    kd_models.package.Package need to score images, without MLflow, store or Ray.
    """

    def work(log: Console, say: Say) -> Answer:
        from orchestrator.tracking.client import connect
        from orchestrator.tracking.registry import fetch

        client = connect(tracking_uri or default_storage().mlflow_uri)
        config = fetch(client, model, dest).config
        files = sorted(path.name for path in dest.iterdir())
        return Answer(
            {"model": model, "folder": str(dest), "files": files, "config": config.model_dump()},
            f"{model} is in {dest}: {', '.join(files)}. Score images with: "
            f"kd score {shlex.quote(str(dest))} IMAGES",
        )

    respond(work, as_json, debug)
