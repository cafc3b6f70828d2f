"""docs/results.md has the tables of what sweeps printed, as it was kept beside it."""

from pathlib import Path

import pytest

from benchmarks.paper_tables import main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("kept", sorted((DOCS / "results").glob("*.json")), ids=lambda p: p.stem)
def test_its_tables_are_those_of_what_was_kept(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (DOCS / "results.md").read_text(encoding="utf-8").splitlines()
    main(kept, None)
    by_class, *_ = capsys.readouterr().out.split("\n\n")
    rows = by_class.splitlines()
    assert len(rows) > 20
    assert [row for row in rows if row not in written] == []
