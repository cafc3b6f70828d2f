"""Choose a student of a sweep for every dataset and normal class, and register it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.errors import UserError
from orchestrator.planning.sweep_file import default_storage, read_spec


def choose(
    sweep: Annotated[str, typer.Argument(help="A sweep's name, or its file.")],
    cheapest_by: Annotated[
        str, typer.Option(help="Which cost decides: latency, flops, params or bytes.")
    ] = "latency",
    per: Annotated[
        str, typer.Option(help="class: one for each normal class; dataset: one for all of them.")
    ] = "class",
    max_latency_us: Annotated[
        float | None, typer.Option(help="Longest that an image may take on one CPU thread.")
    ] = None,
    max_params: Annotated[int | None, typer.Option(help="Most parameters to deploy.")] = None,
    max_flops: Annotated[int | None, typer.Option(help="Most FLOPs an image may cost.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Largest exported model.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Most AUROC below the teacher, e.g. 0.01.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Let a baseline be chosen, too.")
    ] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Export what is chosen, and make it the champion.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be registered, and register nothing.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Where datasets lie; default where the sweep had them.")
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow; default the file's, $MLFLOW_TRACKING_URI, or below $KD_HOME."),
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Choose a student of a sweep for every dataset and normal class.

    Configurations are compared, never single runs: by the mean over seeds of the AUROC on the
    validation half of the test images (protocol holdout; under protocol paper on all of them). Of
    those within one standard error of the best the cheapest is chosen, among those within the
    limits. Costs are of all that must be deployed, a pretrained teacher too, as measured on the
    machine the sweep was run from. A baseline that costs no more than the chosen student and
    detects as well is named.

    With --register the seed of it that did best becomes a version of the MLflow model
    SWEEP.DATASET.CLASS, exported to ONNX and int8, under the alias champion. What is so already is
    left as it is.

    Exit code 1 when for some class no student is within the limits.
    """

    def work(log: Console, say: Say) -> Answer:
        from orchestrator.choosing import Cheapness, Limits, Per, as_row
        from orchestrator.choosing import choose as choose_from
        from orchestrator.exporting import Exporter, spec_of
        from orchestrator.tracking import registry
        from orchestrator.tracking.client import connect

        _check(cheapest_by, get_args(Cheapness), "--cheapest-by")
        _check(per, get_args(Per), "--per")
        name, uri, spec = sweep, tracking_uri, None
        if Path(sweep).suffix in (".yaml", ".yml") or Path(sweep).is_file():
            spec = read_spec(Path(sweep))
            name, uri = spec.name, uri or spec.storage.mlflow_uri
        client = connect(uri or default_storage().mlflow_uri)
        runs = registry.finished_candidates(client, name)
        choices = choose_from(
            runs,
            Limits(max_params, max_flops, max_latency_us, max_bytes, max_drop),
            cheapest_by=cheapest_by,  # type: ignore[arg-type]  # checked above
            per=per,  # type: ignore[arg-type]
            with_baselines=baselines,
        )
        registers = register and not dry_run
        if registers:
            spec = spec or spec_of(client, runs[0].info.experiment_id)
            if data is not None:
                storage = spec.storage.model_copy(update={"data": str(data.absolute())})
                spec = spec.model_copy(update={"storage": storage})
            export = Exporter(client, spec, say)
        rows = []
        for choice in choices:
            if choice.option is None:
                say(f"{choice.dataset} {', '.join(choice.normal_classes)}: {choice.reason}")
                continue
            for normal_class in choice.normal_classes:
                run = choice.option.best_run(normal_class)
                model = registry.registered_name(name, choice.dataset, normal_class)
                row = {"model": model, **as_row(choice, run)}
                _tell(row, say)
                if registers:
                    about = {key: str(row[key]) for key in _TAGS}
                    found = registry.register(client, model, run, export, about)
                    row |= {"version": str(found.version.version), "changes": list(found.changes)}
                    for change in found.changes:
                        say(f"{model}: {change}")
                rows.append(row)
        is_lacking = any(choice.option is None for choice in choices)
        table = _table(name, rows, registers=registers)
        return Answer({"sweep": name, "champions": rows}, table, exit_code=int(is_lacking))

    respond(work, as_json, debug)


_TAGS = ("reason", "chosen_by", "chosen_seeds")
"""what is said of a choice in the registry too"""


def _check(value: str, known: Sequence[str], option: str) -> None:
    if value not in known:
        raise UserError(f"{option} {value}: expected {' or '.join(known)}")


def _tell(row: Mapping[str, Any], say: Say) -> None:
    """Tell why a student was chosen, and what speaks against it."""
    then = f"; the runner-up is {row['runner_up']}" if row["runner_up"] else ""
    say(f"{row['model']}: {row['student']}, {row['reason']}{then}")
    for one in row["baselines_as_good"]:
        say(
            f"{row['model']}: {one['student']} costs no more ({one['flops']:,} FLOPs) and detects "
            f"as well ({one['mean']:.4f}); --baselines lets it be chosen"
        )


def _table(name: str, rows: Sequence[Mapping[str, Any]], *, registers: bool) -> Table:
    table = Table(title=f"{'champions' if registers else 'choices'} of {name}")
    for heading in ("model", "student", "seed", "mean", "test AUROC", "params", "FLOPs", "us"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        error = row["standard_error"]
        table.add_row(
            f"{row['model']}/{row['version']}" if registers else row["model"],
            row["student"],
            str(row["seed"]),
            f"{row['chosen_by']:.4f}" + ("" if error is None else f" +- {error:.4f}"),
            f"{row['test_auroc']:.4f}",
            f"{row['params']:,}",
            f"{row['flops']:,}",
            f"{row['latency_us']:,.0f}",
        )
    return table
