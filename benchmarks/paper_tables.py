"""The tables of docs/results.md, in Markdown, from what ``kd sweep FILE --json`` printed.

What is published at other widths than ours stands with those in brackets.

``python -m benchmarks.paper_tables docs/results/digits-table.json``; with ``--keep FILE`` what
tables are made of is written to a file, a quarter of all.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from kd_models.methods.registry import method_of

Row = Mapping[str, Any]
KEPT = frozenset(
    {
        *("dataset", "normal_class", "method", "label", "seed", "status", "params", "flops"),
        *("auroc", "val_auroc", "test_auroc"),
    }
)
"""of each candidate, beside its axes"""
RATES = {"gmean": "gmean", "fpr": "FPR", "fnr": "FNR"}


def main(path: Path, kept: Path | None) -> None:
    """Print two tables for each dataset: AUROC by class, and rates at the threshold."""
    answer = json.loads(path.read_text(encoding="utf-8"))
    if kept is not None:
        answer = _reduced(answer)
        text = json.dumps(answer, separators=(",", ":")) + "\n"
        # A row on a line of its own, so that versions can be compared.
        kept.write_text(text.replace('{"dataset"', '\n{"dataset"'), encoding="utf-8")
    for dataset in dict.fromkeys(row["dataset"] for row in answer["configurations"]):
        rows = [row for row in answer["configurations"] if row["dataset"] == dataset]
        candidates = [row for row in answer["candidates"] if row["dataset"] == dataset]
        classes = list(dict.fromkeys(row["normal_class"] for row in candidates))
        heading = ["", *classes, "mean", "test half", "seeds", "published", "params", "FLOPs"]
        heading += ["vs best student", "as good and no dearer"]
        of_each = [[c for c in candidates if _is_of(c, row)] for row in rows]
        _print_table(
            heading, [_cells(row, own, classes) for row, own in zip(rows, of_each, strict=True)]
        )
        heading = ["", *(title for name in RATES.values() for title in (name, "published"))]
        _print_table(heading, [_rates(row) for row in rows])


def _reduced(answer: Row) -> Row:
    """Return what tables are made of, and nothing of the machine that it was measured on."""
    names = KEPT.union(*(row["axes"] for row in answer["configurations"]))
    candidates = [
        {name: value for name, value in row.items() if name in names}
        for row in answer["candidates"]
    ]
    kept = {name: value for name, value in answer.items() if name not in ("tracking_uri", "view")}
    return kept | {"candidates": candidates}


def _print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(heading) + " |\n|" + "---|" * len(heading))
    for row in rows:
        print("| " + " | ".join(row) + " |")
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
    return [
        row["configuration"],
        *(f"{mean(found):.4f}" if found else "-" for found in by_class.values()),
        _with_spread(row, "auroc"),
        _with_spread(row, "test_auroc"),
        str(row["seeds"]),
        _published(row, "auroc"),
        f"{row['params']:,}",
        f"{row['flops']:,}",
        row["verdict"],
        ", ".join(row["cheaper_baselines_as_good"]),
    ]


def _rates(row: Row) -> list[str]:
    found = ((f"{row[rate]:.4f}", _published(row, rate)) for rate in RATES)
    return [row["configuration"], *(text for pair in found for text in pair)]


def _published(row: Row, metric: str) -> str:
    method, axes = method_of(row["method"]), row["axes"]
    if axes.get("score", "paper") != "paper":
        return ""
    exact = method.published_of(row["dataset"], axes)
    others = method.published.get(row["dataset"], {})
    where, found = ("", exact) if exact or len(others) != 1 else next(iter(others.items()))
    value = getattr(found, metric, None)
    return "" if value is None else f"{value:.4f}" + (f" ({where})" if where else "")


def _with_spread(row: Row, metric: str) -> str:
    around = row[f"{metric}_spread"]
    return f"{row[metric]:.4f}" + ("" if around is None else f" +- {around:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="what kd sweep --json printed")
    parser.add_argument("--keep", type=Path, help="a file for what tables are made of")
    given = parser.parse_args()
    main(given.path, given.keep)
