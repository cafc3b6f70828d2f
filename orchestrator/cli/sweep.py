"""Train every student of a sweep file, share what they share, and compare them."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.table import Table

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.cli.arguments import (
    DEFAULT_EXECUTOR,
    Address,
    ExecutorName,
    Overrides,
    SweepFile,
    check_folder,
)
from orchestrator.console import Say
from orchestrator.executors import open_executor
from orchestrator.executors.base import Executor
from orchestrator.planning.plan import Plan
from orchestrator.planning.prepare import prepare
from orchestrator.planning.spec import SweepSpec
from orchestrator.planning.sweep_file import read_spec
from orchestrator.store import open_store
from orchestrator.store.record import damaged_stages


def sweep(
    file: SweepFile,
    overrides: Overrides = None,
    address: Address = None,
    executor: ExecutorName = DEFAULT_EXECUTOR,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and train nothing.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read every byte of what the store has, and train again what is damaged.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write the page, the tables and the results into this folder."),
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Train every student of a sweep file, share what they share, and compare them.

    Running the same command again goes on where an earlier run stopped: finished stages are
    found in the store, a half-trained one continues from its last checkpoint, and nothing is
    logged twice. The file may grow or shrink in between.

    Exit code: 0 all candidates trained; 1 some failed (the table says which and why), or MLflow
    lacks part; 2 an error; 130 interrupted.
    """

    def work(log: Console, say: Say) -> Answer:
        spec = read_spec(file, overrides or ())
        if dry_run:
            return _plan(spec, verify, say)
        return _run(spec, open_executor(executor, address), verify, report, log, say)

    respond(work, as_json, debug)


def _plan(spec: SweepSpec, verify: bool, say: Say) -> Answer:
    plan = prepare(spec, say, download=False).plan
    store = open_store(spec.storage.store_uri, spec.storage.s3)
    finished = store.present(plan.stages)
    if verify:
        finished -= damaged_stages(store, plan.stages.values(), say)
    data = {
        "name": spec.name,
        "candidates": len(plan.candidates),
        "stages": plan.stages_by_kind,
        "stages_by_step": plan.stages_by_step,
        "stages_without_sharing": plan.stages_without_sharing,
        "in_store": len(finished),
        "trials": len(plan.packs(finished)),
        "epochs": plan.epochs(finished),
        "epochs_without_sharing": plan.epochs_without_sharing,
    }
    return Answer(data, _plan_table(plan, data))


def _plan_table(plan: Plan, data: dict[str, object]) -> Table:
    table = Table(box=None, show_header=False, title=f"sweep {plan.spec.name}, not started")
    shared, alone = plan.stages_by_kind, plan.stages_without_sharing
    rows = {
        "candidates": data["candidates"],
        **{
            f"{kind} stages": f"{shared[kind]} ({alone[kind]} if nothing were shared)"
            for kind in shared
        },
        "by step": ", ".join(f"{n} {step}" for step, n in plan.stages_by_step.items()),
        "in the store": data["in_store"],
        "trials to run": f"{data['trials']}"
        + (", or more where the cluster runs several at a time" if data["trials"] else ""),
        "epochs to train": f"{data['epochs']} ({plan.epochs_without_sharing} if nothing were "
        "shared or stored)",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _run(
    spec: SweepSpec,
    executor: Executor,
    verify: bool,
    report: Path | None,
    log: Console,
    say: Say,
) -> Answer:
    if report is not None:
        check_folder("--report", report)
    from orchestrator.reporting.comparison import compare, standings
    from orchestrator.reporting.page.write import write_page
    from orchestrator.reporting.progress import display_for, duration
    from orchestrator.reporting.report import write_report
    from orchestrator.reporting.tables import candidates_table, classes_table, standings_table
    from orchestrator.sweep import run_sweep
    from orchestrator.tracking.client import without_password
    from orchestrator.tracking.views import link

    outcome = run_sweep(spec, executor, lambda: display_for(log), say, verify=verify)
    for result in outcome.results:
        if result.status != "finished":
            say(f"{result.status}: {result.candidate.name()}: {result.reason}")
    for problem in outcome.tracking_problems:
        say(f"error: MLflow lacks part of this sweep ({problem}); run the same command again")
    if report is not None:
        write_report(outcome.results, spec.evaluation.protocol, report)
        store = open_store(spec.storage.store_uri, spec.storage.s3)
        write_page(outcome.plan, outcome.results, store, report)
    compared = compare(outcome.results)
    found = standings(compared, spec.evaluation.protocol)
    uri = without_password(spec.storage.mlflow_uri)
    is_server = uri.startswith("http")
    view = link(uri if is_server else _LOCAL_SERVER, outcome.experiment_id)
    look = f"Compare the students in MLflow: {view}"
    if not is_server:
        server = f"mlflow server --backend-store-uri {shlex.quote(uri)}"
        look = f"Compare the students in MLflow: start it with {server}, then open {view}"
    data = {
        "name": spec.name,
        "succeeded": outcome.succeeded,
        "trained": outcome.trained,
        "reused": outcome.reused,
        "seconds": round(outcome.seconds, 3),
        "tracking_uri": uri,
        "view": view,
        "configurations": [standing.as_row() for standing in found],
        "candidates": [result.as_row() for result in outcome.results],
    }
    text = Group(
        *(
            [candidates_table(outcome.results, spec.evaluation.protocol)]
            if len(outcome.results) <= _MOST_SHOWN
            else []
        ),
        *([standings_table(found, spec.evaluation.protocol)] if compared else []),
        *([classes_table(compared)] if any(len(one.classes) > 1 for one in compared) else []),
        f"{outcome.trained} stages trained, {outcome.reused} reused, {duration(outcome.seconds)}.",
        look,
    )
    return Answer(data, text, exit_code=0 if outcome.succeeded else 1)


_LOCAL_SERVER = "http://127.0.0.1:5000"
"""where ``mlflow server`` listens unless told otherwise"""

_MOST_SHOWN = 30
"""Candidates that are shown one by one; ``--json``, ``--report`` and MLflow have them all."""
