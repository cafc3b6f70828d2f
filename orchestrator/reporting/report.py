"""The files that a sweep leaves for people: tables, the plot, and everything as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.reporting.comparison import compare
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.tables import candidates_table, comparison_table, render_plain


def write_report(results: Sequence[CandidateResult], protocol: str, folder: Path) -> None:
    """Write the tables as text, the plot, and everything as JSON into ``folder``."""
    from orchestrator.reporting.figures import (
        comparison_figure,  # matplotlib takes a second to import
    )

    folder.mkdir(parents=True, exist_ok=True)
    compared = compare(results)
    (folder / "candidates.txt").write_text(
        render_plain(candidates_table(results, protocol)), encoding="utf-8"
    )
    (folder / "candidates.json").write_text(
        json.dumps({"candidates": [result.as_row() for result in results]}, indent=1) + "\n",
        encoding="utf-8",
    )
    if compared:
        (folder / "comparison.txt").write_text(
            render_plain(comparison_table(compared)), encoding="utf-8"
        )
        comparison_figure(compared).savefig(folder / "comparison.png", dpi=150)
