"""Write the page of a sweep from what the store has."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.cli.arguments import Overrides, SweepFile, check_folder
from orchestrator.console import Say
from orchestrator.planning.prepare import prepare
from orchestrator.planning.sweep_file import read_spec
from orchestrator.store import open_objects, open_store


def report(
    file: SweepFile,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; default NAME-report, here.")
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Write the page of a sweep from what the store has.

    The folder gets index.html, one page that needs no network, and its figures below figures/.
    Nothing is trained, and neither Ray nor MLflow is asked: what is finished is read from the
    store, whoever trained it. Costs are measured on this machine where it does not know them yet.
    """

    def work(log: Console, say: Say) -> Answer:
        spec = read_spec(file, overrides or ())
        folder = out or Path(f"{spec.name}-report")
        check_folder("--out", folder)
        plan = prepare(spec, say, download=False).plan

        from orchestrator.reporting.failures import failures
        from orchestrator.reporting.page.write import PAGE, write_page
        from orchestrator.reporting.results import collect
        from orchestrator.running.checkpoints import Checkpoints

        store = open_store(spec.storage.store_uri, spec.storage.s3)
        checkpoints = Checkpoints(open_objects(spec.storage.root_uri, spec.storage.s3))
        results = [
            replace(result, reason="the store does not have it")
            if result.status == "unfinished"
            else result
            for result in collect(plan, store, *failures(plan, store, checkpoints))
        ]
        figures = write_page(plan, results, store, folder)
        finished = sum(result.status == "finished" for result in results)
        if not finished:
            say(f"warning: no candidate of {spec.name} is finished in {store.uri}")
        data = {
            "name": spec.name,
            "page": str(folder / PAGE),
            "figures": [str(folder / name) for name in figures],
            "candidates": len(results),
            "finished": finished,
        }
        text = f"{folder / PAGE}: {finished} of {len(results)} candidates finished"
        return Answer(data, text)

    respond(work, as_json, debug)
