"""Register the best student of a sweep for every dataset and normal class."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.cli.answers import Answer, DebugFlag, JsonFlag, respond
from orchestrator.console import Say
from orchestrator.planning.sweep_file import default_storage, read_spec


def choose(
    sweep: Annotated[str, typer.Argument(help="A sweep's name, or its file.")],
    max_params: Annotated[int | None, typer.Option(help="Most parameters to deploy.")] = None,
    max_flops: Annotated[int | None, typer.Option(help="Most FLOPs an image may cost.")] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Longest that an image may take on one CPU thread.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Let a baseline be chosen, too.")
    ] = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow; default the file's, $MLFLOW_TRACKING_URI, or below $KD_HOME."),
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Register the best student of a sweep for every dataset and normal class.

    Students are compared by AUROC on the validation half of the test images (protocol holdout;
    under protocol paper on all of them), among those within the limits. Limits are of all that
    must be deployed, a pretrained teacher too; latency is that of the machine the sweep was
    run from. The chosen one becomes a version of the MLflow model SWEEP.DATASET.CLASS, tagged with
    its metrics, cost, threshold, preprocessing and stage key, under the alias champion. Choosing
    the same student again makes no second version.

    A baseline that costs no more than the chosen student and detects as well is named.

    Exit code 1 when for some class no student is within the limits.
    """

    def work(log: Console, say: Say) -> Answer:
        from orchestrator.tracking import registry
        from orchestrator.tracking.client import connect

        name, uri = sweep, tracking_uri
        if Path(sweep).suffix in (".yaml", ".yml") or Path(sweep).is_file():
            spec = read_spec(Path(sweep))
            name, uri = spec.name, uri or spec.storage.mlflow_uri
        client = connect(uri or default_storage().mlflow_uri)
        runs = registry.finished_candidates(client, name)
        choices = registry.choose(
            runs,
            registry.Limits(max_params, max_flops, max_latency_ms),
            with_baselines=baselines,
        )
        table = Table(title=f"champions of {name}")
        headings = (
            "model",
            "student",
            "chosen by",
            "test AUROC",
            "params",
            "FLOPs",
            "ms",
            "candidates",
        )
        for heading in headings:
            table.add_column(heading)
        rows = []
        for choice in choices:
            model = choice.registered_name(name)
            if choice.run is None:
                say(f"none of the {choice.candidates} students for {model} is within the limits")
                continue
            version = registry.register(client, name, choice)
            metrics, tags = choice.run.data.metrics, choice.run.data.tags
            row = {
                "model": model,
                "version": str(version.version),
                "dataset": choice.dataset,
                "normal_class": choice.normal_class,
                "student": tags["student"],
                "stage_key": tags["stage_key"],
                "chosen_by": registry.choosing_metric(choice.run),
                "auroc": metrics["auroc"],
                "test_auroc": metrics["test_auroc"],
                "params": int(metrics["params"]),
                "flops": int(metrics["flops"]),
                "latency_ms": metrics["latency_ms"],
                "threshold": metrics["threshold"],
                "baselines_as_good": [run.data.tags["student"] for run in choice.baselines],
            }
            for run in choice.baselines:
                say(
                    f"{model}: {run.data.tags['student']} costs no more "
                    f"({int(run.data.metrics['flops']):,} FLOPs) and detects as well "
                    f"({registry.choosing_metric(run):.4f}); --baselines lets it be chosen"
                )
            rows.append(row)
            table.add_row(
                f"{model}/{version.version}",
                tags["student"],
                f"{row['chosen_by']:.4f}",
                f"{row['test_auroc']:.4f}",
                f"{row['params']:,}",
                f"{row['flops']:,}",
                f"{row['latency_ms']:.2f}",
                str(choice.candidates),
            )
        return Answer({"sweep": name, "champions": rows}, table, exit_code=len(rows) < len(choices))

    respond(work, as_json, debug)
