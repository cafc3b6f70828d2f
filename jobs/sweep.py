"""Train every student of a sweep file, share what they share, and compare them."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kd_models.data import DataError
from orchestrator.errors import UserError
from orchestrator.plan import Plan, make_plan
from orchestrator.spec import SweepSpec, read_spec
from orchestrator.store import FolderStore

app = typer.Typer(add_completion=False)


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="Sweep file; jobs/sweeps/ has examples.")],
    set_: Annotated[
        list[str],
        typer.Option("--set", help="Override a setting of the file, e.g. training.epochs=3."),
    ] = [],  # noqa: B006
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster; default $RAY_ADDRESS, else a local Ray is started."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and train nothing.")
    ] = False,
    json_: Annotated[
        bool,
        typer.Option("--json", help="One line of JSON on standard output, all else on error."),
    ] = False,
) -> None:
    """Train every student of a sweep file, share what they share, and compare them.

    Running the same command again goes on where an earlier run stopped: finished stages are
    found in the store, a half-trained one continues from its last checkpoint, and nothing is
    logged twice. The file may grow or shrink in between.

    Exit code: 0 all candidates trained; 1 some failed (the table says which and why); 2 the
    sweep could not start.
    """
    log = Console(stderr=True, soft_wrap=True)
    # Whatever libraries print belongs to the log: standard output is for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            spec = read_spec(file, set_)
            succeeded, answer, text = (_plan if dry_run else _run)(spec, address, log)
        except (UserError, DataError) as error:
            log.print(f"error: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(2) from None
    if json_:
        print(json.dumps(answer))
    else:
        Console(soft_wrap=True).print(text)
    if not succeeded:
        raise typer.Exit(1)


def _plan(spec: SweepSpec, address: str | None, log: Console) -> tuple[bool, Any, Any]:
    from orchestrator.sweep import dataset_facts, finished_stages

    def say(line: str) -> None:
        log.print(line, markup=False, highlight=False)

    plan = make_plan(spec, dataset_facts(spec, say, download=False, missing_ok=True))
    finished = finished_stages(plan, FolderStore(spec.storage.store_path), say)
    packs = plan.packs(finished)
    answer = {
        "name": spec.name,
        "candidates": len(plan.candidates),
        "stages": plan.stages_by_kind,
        "stages_by_step": plan.stages_by_step,
        "stages_without_sharing": plan.stages_without_sharing,
        "in_store": len(finished),
        "trials": len(packs),
        "epochs": plan.epochs(finished),
        "epochs_without_sharing": plan.epochs_without_sharing,
    }
    return True, answer, _plan_text(plan, answer)


def _plan_text(plan: Plan, answer: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, show_header=False, title=f"sweep {answer['name']}, not started")
    shared, alone = answer["stages"], answer["stages_without_sharing"]
    rows = {
        "candidates": answer["candidates"],
        **{
            f"{kind} stages": f"{shared[kind]} ({alone[kind]} if nothing were shared)"
            for kind in shared
        },
        "by step": ", ".join(f"{n} {step}" for step, n in answer["stages_by_step"].items()),
        "in the store": answer["in_store"],
        "trials to run": answer["trials"],
        "epochs to train": f"{answer['epochs']} ({answer['epochs_without_sharing']} if nothing "
        "were shared or stored)",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _run(spec: SweepSpec, address: str | None, log: Console) -> tuple[bool, Any, Any]:
    from rich.console import Group

    from orchestrator.progress import display_for, duration
    from orchestrator.report import candidates_table
    from orchestrator.sweep import run_sweep

    def say(line: str) -> None:
        log.print(line, markup=False, highlight=False)

    outcome = run_sweep(spec, address, lambda: display_for(log), say)
    for result in outcome.results:
        if result.status != "finished":
            say(f"{result.status}: {result.candidate.name()}: {result.reason}")
    for problem in outcome.tracking_problems:
        say(f"error: MLflow lacks part of this sweep ({problem}); run the same command again")
    uri = spec.storage.mlflow_uri
    look = uri if uri.startswith("http") else f"mlflow server --backend-store-uri {uri}"
    counts = (
        f"{outcome.trained} stages trained, {outcome.reused} reused, "
        f"{duration(outcome.seconds)}. Compare in the MLflow UI, experiment {spec.name}: {look}"
    )
    answer = {
        "name": spec.name,
        "succeeded": outcome.succeeded,
        "trained": outcome.trained,
        "reused": outcome.reused,
        "seconds": round(outcome.seconds, 3),
        "tracking_uri": uri,
        "candidates": [result.as_row() for result in outcome.results],
    }
    table = candidates_table(outcome.results, spec.evaluation.protocol)
    return outcome.succeeded, answer, Group(table, counts)


if __name__ == "__main__":
    app()
