"""What MLflow's page shows of a sweep: a shared view of its students, and a description.

MLflow keeps a shared view as an experiment's tag, whose text is the state of its page as JSON; a
link with the tag's name opens it. The state is MLflow 3.17's own format.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.planning.plan import Plan

VIEW = "students"
"""name of the view"""

_KEEPS_VIEW = f"mlflow.sharedViewState.{VIEW}"
_CHARTED_RUNS = 100
"""runs in a chart: MLflow's slow down beyond"""
_COLUMNS = (
    *("val_auroc_mean", "val_auroc_spread", "val_auroc", "auroc", "test_auroc"),
    *("difference_to_teacher", "above_alone", "flops", "params", "latency_us", "size_bytes"),
)


def link(tracking_uri: str, experiment_id: str) -> str:
    """Return the address of the view at a tracking server."""
    return f"{tracking_uri.rstrip('/')}/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"


def experiment_tags(plan: Plan, sweep_run: str) -> dict[str, str]:
    """Return the tags of a sweep's experiment: its view, description and kind.

    Args:
        plan: of the sweep.
        sweep_run: id of the sweep's own run, below which MLflow's page has those of the stages.
    """
    return {
        _KEEPS_VIEW: json.dumps(_view(plan, sweep_run)),
        "mlflow.note.content": _description(plan),
        "mlflow.experimentKind": "custom_model_development",
    }


def _view(plan: Plan, sweep_run: str) -> dict[str, Any]:
    tags = ("dataset", "normal_class", "configuration", "seed")
    columns = [f"tags.`{tag}`" for tag in tags] + [f"metrics.`{name}`" for name in _COLUMNS]
    return {
        "searchFilter": "tags.kind = 'student'",
        "orderByKey": "metrics.`val_auroc_mean`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "runsExpanded": {sweep_run: True},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "SHOWALL",
        "runsVisibilityMap": {},
        "runListHidden": False,
        "viewMaximized": False,
        "useGroupedValuesInCharts": True,
        "compareRunSections": [
            _section("cost", "Quality against cost"),
            _section("curves", "Training curves"),
        ],
        "compareRunCharts": _charts(),
        "isAccordionReordered": True,
        "autoRefreshEnabled": False,
        "globalLineChartConfig": {},
    }


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "display": True, "isReordered": True}


def _charts() -> list[dict[str, Any]]:
    def chart(kind: str, uuid: str, section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "type": kind,
            "uuid": uuid,
            "metricSectionId": section,
            "runsCountToCompare": _CHARTED_RUNS,
            "deleted": False,
            "isGenerated": False,
            **settings,
        }

    def against(cost: str) -> dict[str, Any]:
        return {
            "xaxis": {"type": "METRIC", "key": cost},
            "yaxis": {"type": "METRIC", "key": "val_auroc"},
        }

    parallel = {
        "selectedParams": [],
        "selectedMetrics": ["flops", "latency_us", "val_auroc", "test_auroc"],
        "showAllRuns": True,
    }
    line = {
        "metricKey": "auroc",
        "selectedMetricKeys": ["auroc"],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "yAxisKey": "metric",
        "selectedYAxisMetricKey": "",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "range": dict.fromkeys(("xMin", "xMax", "yMin", "yMax")),
    }
    return [
        chart("SCATTER", "flops", "cost", against("flops")),
        chart("SCATTER", "latency", "cost", against("latency_us")),
        chart("PARALLEL", "parallel", "cost", parallel),
        chart("LINE", "auroc", "curves", line),
    ]


def _description(plan: Plan) -> str:
    spec = plan.spec
    count = len(plan.candidates)
    tasks = len({candidate.task for candidate in plan.candidates})
    protocol = (
        "AUROC on the validation half of the test images (`val_auroc`), so that the other half "
        "(`test_auroc`) stays honest"
        if spec.evaluation.protocol == "holdout"
        else "AUROC on the whole test split (`auroc`), as in the papers"
    )
    compare = "compare val_auroc_mean, above_alone and flops"
    return f"""**{count} candidates on {tasks} tasks: {compare}**

A task is a dataset and a normal class. Each run is one network: a candidate
(`role = candidate`) or a shared stage on the way to some (`role = stage`); all lie below the
sweep's own run, which has the report, the settings (`sweep.yaml`) and the counts.

- **Compare by configuration, not by run.** `val_auroc_mean` and `val_auroc_spread` are over the
  seeds of a configuration on a task; students are chosen by {protocol}.
- **What distillation adds**: `above_alone`, to the same student trained without a teacher;
  `difference_to_teacher` is what is still lost.
- **What it costs**: `params`, `flops`, `latency_us` (exported, one CPU thread), `size_bytes`, of
  all that must be deployed.
- `kind = baseline` are detectors that train no network: a student that does not beat them is not
  worth deploying.

Choose and register: `kd choose {spec.name} --register`. Download: `kd download MODEL FOLDER`.
"""
