"""Writes the page and its figures into a folder."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kd_score.names import encodable
from orchestrator.planning.plan import Plan
from orchestrator.reporting.comparison import compare, standings
from orchestrator.reporting.page import about, from_store, sections, tables
from orchestrator.reporting.page.look import Drawn, drawing
from orchestrator.reporting.page.plotted import plotted
from orchestrator.reporting.page.published import published, published_table
from orchestrator.reporting.page.svg import standalone, to_svg
from orchestrator.reporting.results import CandidateResult
from orchestrator.store.stages import Store

PAGE, FIGURES = "index.html", "figures"


def write_page(
    plan: Plan, results: Sequence[CandidateResult], store: Store, folder: Path
) -> list[str]:
    """Write the page of a sweep, and its figures as files beside it.

    Of the store only what is drawn is read: the histories of some training steps, and the scores of
    some students. What cannot be read is left out, and the page says so.

    Args:
        plan: of the sweep.
        results: of all its candidates.
        store: where finished stages are.
        folder: made where it is not there; files of an earlier page are replaced.

    Returns:
        The names of the figures' files.
    """
    figures = _Figures(folder / FIGURES)
    compared = compare(results)
    shown = plotted(plan, compared, results)
    with drawing():
        scored, scored_notes = from_store.roc_and_scores(plan, shown, results, store)
        page = (
            _environment()
            .get_template("page.html.j2")
            .render(
                name=plan.spec.name,
                facts=about.facts(plan, results),
                standings=tables.standings_table(
                    standings(compared, plan.spec.evaluation.protocol)
                ),
                fronts=sections.fronts(plan, shown),
                classes=sections.by_class(shown, sections.class_names(plan)),
                more_datasets=max(0, len(shown) - sections.MOST_DATASETS),
                curves=from_store.training_curves(plan, shown, store),
                scored=scored,
                scored_notes=scored_notes,
                published=published_table(published(compared)),
                candidates=tables.candidates_table(results),
                settings=about.settings(plan.spec),
                versions=about.versions(),
                missing=tables.missing_table(results),
                protocol=plan.spec.evaluation.protocol,
                draw=figures.draw,
                script_hash=_script_hash(),
            )
        )
    (folder / PAGE).write_text(encodable(page), encoding="utf-8")
    return figures.files


class _Figures:
    """Saves figures as the page draws them.

    Args:
        folder: for their files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.files: list[str] = []

    def draw(self, drawn: Drawn) -> Markup:
        """Return a figure as it stands in the page, and save it as a file."""
        svg = to_svg(drawn.figure, drawn.name, drawn.words)
        file = self._folder / f"{drawn.name}.svg"
        file.write_text(standalone(svg), encoding="utf-8")
        self.files.append(f"{FIGURES}/{file.name}")
        return Markup(svg)  # made of elements, whose text is escaped


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("orchestrator.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _script_hash() -> str:
    """Return the hash by which the page allows its own script, and no other."""
    script = _environment().get_template("tables.js.j2").render()
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
