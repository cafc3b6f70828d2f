"""The tables of docs/results.md, in Markdown, from what ``kd sweep FILE --json`` printed.

``python -m benchmarks.paper_tables docs/results/fmnist-table.json``
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from kd_models.methods.registry import method_of

Row = Mapping[str, Any]


def main(path: Path) -> None:
    """Print a table for each dataset: AUROC by class and configuration, and what it costs."""
    answer = json.loads(path.read_text(encoding="utf-8"))
    for dataset in dict.fromkeys(row["dataset"] for row in answer["configurations"]):
        candidates = [row for row in answer["candidates"] if row["dataset"] == dataset]
        classes = list(dict.fromkeys(row["normal_class"] for row in candidates))
        heading = ["", *classes, "mean", "test half", "seeds", "published", "params", "FLOPs"]
        heading += ["vs best student", "as good and no dearer"]
        print("| " + " | ".join(heading) + " |\n|" + "---|" * len(heading))
        for row in answer["configurations"]:
            if row["dataset"] == dataset:
                own = [c for c in candidates if _is_of(c, row)]
                print("| " + " | ".join(_cells(row, own, classes)) + " |")
        print()


def _is_of(candidate: Row, configuration: Row) -> bool:
    axes: Mapping[str, Any] = configuration["axes"]
    names = ("method", "label")
    return candidate["status"] == "finished" and all(
        candidate.get(name) == value
        for name, value in [*axes.items(), *((name, configuration[name]) for name in names)]
    )


def _cells(row: Row, candidates: Sequence[Row], classes: Sequence[str]) -> list[str]:
    by_class = {
        own: [c["auroc"] for c in candidates if c["normal_class"] == own] for own in classes
    }
    published = method_of(row["method"]).published_of(row["dataset"], row["axes"])
    return [
        row["configuration"],
        *(f"{mean(found):.4f}" if found else "-" for found in by_class.values()),
        _with_spread(row, "auroc"),
        _with_spread(row, "test_auroc"),
        str(row["seeds"]),
        "" if published is None else f"{published:.4f}",
        f"{row['params']:,}",
        f"{row['flops']:,}",
        row["verdict"],
        ", ".join(row["cheaper_baselines_as_good"]),
    ]


def _with_spread(row: Row, metric: str) -> str:
    around = row[f"{metric}_spread"]
    return f"{row[metric]:.4f}" + ("" if around is None else f" +- {around:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
