"""The files that a sweep leaves for people: tables, the plot, and everything as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from kd_models.evaluation.protocol import EvaluationProtocol
from orchestrator.reporting.comparison import compare, standings
from orchestrator.reporting.results import CandidateResult
from orchestrator.reporting.tables import (
    candidates_table,
    classes_table,
    render_plain,
    standings_table,
)


def write_report(
    results: Sequence[CandidateResult], protocol: EvaluationProtocol, folder: Path
) -> None:
    """Write the tables as text, the plot, and everything as JSON into ``folder``."""
    from orchestrator.reporting.figures import (
        comparison_figure,  # matplotlib takes a second to import
    )

    folder.mkdir(parents=True, exist_ok=True)
    compared = compare(results)
    found = standings(compared, protocol)
    (folder / "candidates.txt").write_text(
        render_plain(candidates_table(results, protocol)), encoding="utf-8"
    )
    data = {
        "configurations": [standing.as_row() for standing in found],
        "candidates": [result.as_row() for result in results],
    }
    (folder / "candidates.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if compared:
        tables = (standings_table(found, protocol), classes_table(compared))
        (folder / "comparison.txt").write_text(
            "\n".join(map(render_plain, tables)), encoding="utf-8"
        )
        comparison_figure(compared).savefig(folder / "comparison.png", dpi=150)
