"""The whole page: what it holds, that it needs nothing from elsewhere, and that it stays small."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from costs import alone
from pages import Page

from kd_models.data import DatasetRow, dataset_row
from kd_models.evaluation.metrics import Evaluation
from orchestrator.planning.plan import DatasetFacts, Plan, make_plan
from orchestrator.planning.spec import SweepSpec
from orchestrator.reporting.page import from_store, plotted
from orchestrator.reporting.page.write import write_page
from orchestrator.reporting.results import CandidateResult, collect
from orchestrator.store import open_store
from orchestrator.store.record import HISTORY, SCORES, ScoredSplit
from orchestrator.store.stages import CorruptStage, Store

SECTIONS = (
    *("compared", "front", "classes", "curves", "scores"),
    *("published", "candidates", "settings", "versions", "missing"),
)
ADDRESS = re.compile(r"https?:|//|file:|ftp:")


def check(page: Page) -> None:
    """Nothing is asked of another place, and what is there can be found and named."""
    assert page.unclosed == []
    for tag, found in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            assert re.match(r"#|data:,$", found.get(name, "#")), (tag, found)
        assert not any(name.startswith("on") for name in found), (tag, found)
        assert "url(" not in found.get("style", "").replace("url(#", "")
    assert "@import" not in "".join(page.texts["style"])
    assert "url(" not in "".join(page.texts["style"])
    assert [text for text in page.texts["script"] if "fetch" in text or "import" in text] == []
    ids = page.ids()
    assert len(ids) == len(set(ids))
    assert [name for name in ids if name in SECTIONS] == list(SECTIONS)
    assert [tag for tag, _ in page.tags].count("h1") == 1
    linked = {found["href"][1:] for tag, found in page.tags if tag == "a"}
    assert set(SECTIONS) <= linked <= set(ids)


@pytest.fixture(scope="module")
def written(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a teacher, KDGAN-2 and P-KDGAN-23 that were really trained."""
    folder = tmp_path_factory.mktemp("page")
    results = collect(trained.plan, trained.store, {}, {})
    names = write_page(trained.plan, results, trained.store, folder)
    assert names == sorted(names, key=names.index)
    assert {path.name for path in folder.iterdir()} == {"index.html", "figures"}
    assert {f"figures/{path.name}" for path in (folder / "figures").iterdir()} == set(names)
    return folder


def test_the_page_holds_every_part(written: Path, trained: Any) -> None:
    page = Page.read(written / "index.html")
    check(page)
    assert page.texts["h1"] == ["Sweep tiny"]
    assert page.column("all-candidates", "configuration") == ["kdgan-2", "p-kdgan-23"]
    assert page.column("all-candidates", "status") == ["finished"] * 2
    assert page.column("standings", "configuration") == ["kdgan-2", "p-kdgan-23"]
    assert page.column("classes-of-1", "configuration") == ["teacher", "kdgan-2", "p-kdgan-23"]
    (settings,) = (text for text in page.texts["pre"] if "structures:" in text)
    assert "name: tiny" in settings
    for program in ("python", "torch", "ray", "mlflow", "onnxruntime", "numpy", "kd-orchestrator"):
        assert program in page.texts["dt"]
    text = " ".join(page.texts["p"])
    assert "Every candidate is finished." in text
    assert "The papers report none of these" in text


def test_its_figures_are_in_it_and_beside_it(written: Path) -> None:
    page = Page.read(written / "index.html")
    figures = [found["aria-label"] for tag, found in page.tags if tag == "svg"]
    files = {path.name for path in (written / "figures").iterdir()}
    assert len(figures) == len(files)
    assert files == {
        *(f"front-1-{cost}.svg" for cost in ("flops", "params", "latency", "size")),
        *("classes-1-1.svg", "curves-1.svg", "roc-1.svg", "scores-1.svg"),
    }
    assert all(path.read_text().startswith("<?xml") for path in (written / "figures").iterdir())


def test_only_its_own_script_may_run(written: Path) -> None:
    page = Page.read(written / "index.html")
    (policy,) = (
        found["content"] for _, found in page.tags if found.get("http-equiv", "").startswith("Cont")
    )
    assert policy.startswith("default-src 'none'; ")
    (script,) = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_what_failed_is_there_with_its_reason(trained: Any, tmp_path: Path) -> None:
    plan = trained.plan
    first, second = plan.candidates
    teacher = first.stages[0]
    results = collect(
        plan,
        trained.store,
        {first.key: "Diverged: <b>NaN</b> & so on\x1b[0m", teacher: "a teacher's"},
        {second.key: teacher},
    )
    write_page(plan, results, trained.store, tmp_path)
    page = Page.read(tmp_path / "index.html")
    check(page)
    assert page.column("not-finished", "status") == ["failed", "skipped"]
    assert page.column("not-finished", "reason") == [
        "Diverged: <b>NaN</b> & so on\\u001b[0m",
        "digits 0 teacher failed: a teacher's",
    ]
    assert page.column("all-candidates", "status") == ["failed", "skipped"]
    assert "standings" not in page.tables
    assert "nothing to compare" in " ".join(page.texts["p"])


class Lossy:
    """A store of which some files cannot be read any more."""

    def __init__(self, store: Store, name: str, error: Exception) -> None:
        self._store, self._name, self._error = store, name, error

    def read(self, key: str, name: str) -> bytes:
        if name == self._name:
            raise self._error
        return self._store.read(key, name)


@pytest.mark.parametrize("error", [CorruptStage("what"), KeyError("key")])
@pytest.mark.parametrize("name", [HISTORY, SCORES])
def test_a_stage_that_cannot_be_read_does_not_lose_the_page(
    trained: Any, tmp_path: Path, error: Exception, name: str
) -> None:
    results = collect(trained.plan, trained.store, {}, {})
    store: Any = Lossy(trained.store, name, error)
    names = write_page(trained.plan, results, store, tmp_path)
    lost = {HISTORY: "curves", SCORES: "roc"}[name]
    assert not any(lost in file for file in names)
    page = Page.read(tmp_path / "index.html")
    check(page)
    assert "cannot be read from the store." in " ".join(page.texts["p"])


def test_a_password_is_not_shown(
    plan_of: Callable[..., Plan], trained: Any, tmp_path: Path
) -> None:
    plan = plan_of(storage={"tracking_uri": "https://me:secret@host/mlflow"})
    write_page(plan, [], trained.store, tmp_path)
    content = (tmp_path / "index.html").read_text()
    assert "secret" not in content
    assert "https://me:***@host/mlflow" in content


# Names

HOSTILE = (
    *("<script>alert(1)<!--", "<img src=x onerror=alert(1)>", "\"'><b>", "$x^{$", "{{ 7*7 }}"),
    *("]]>", "-->", "&lt;", "螺丝", "🔩", "a\\u202eb", "x" * 200, "</script>", "{% raw %}"),
)


def finished(plan: Plan, **changes: Any) -> list[CandidateResult]:
    found = Evaluation(0.9, 0.8, 0.85, 0.3, 0.4, 0.5, 0.6)
    one = {"evaluation": found, "cost": alone(), **changes}
    return [CandidateResult(candidate, "finished", **one) for candidate in plan.candidates]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Stages of a store that has all, how many are read of each kind."""
    read = {"histories": 0, "scores": 0}
    rng = np.random.default_rng(0)
    novel = np.arange(5000) % 10 > 0
    split = ScoredSplit(rng.normal(size=5000) + 2 * novel, novel, (np.arange(5000) % 10))

    def history(store: Any, stage: Any) -> list[Mapping[str, float]]:
        read["histories"] += 1
        return [{"epoch": n, "auroc": rng.uniform(0.8, 0.9)} for n in range(1, stage.epochs + 1)]

    def scores(store: Any, stage: Any) -> ScoredSplit:
        read["scores"] += 1
        return split

    monkeypatch.setattr(from_store, "read_history", history)
    monkeypatch.setattr(from_store, "read_scores", scores)
    monkeypatch.setattr(plotted, "cost_of", lambda stage: alone())
    return read


@pytest.mark.usefixtures("stored")
def test_any_name_is_shown_as_it_is_and_nothing_of_it_is_run(
    spec_of: Callable[..., SweepSpec], tmp_path: Path
) -> None:
    tree = tmp_path / "</script><script>alert(1)<"
    tree.mkdir(parents=True)
    spec = spec_of(datasets=[f"folder:{tree}"], normal_classes=list(HOSTILE))
    row = DatasetRow(
        name=f"folder:{tree}",
        channels=1,
        classes={name: f"name of {name}" for name in HOSTILE},
        load=dataset_row("digits").load,
    )
    plan = make_plan(spec, {spec.datasets[0]: DatasetFacts(row, "x")})
    results = finished(plan, teacher_auroc=0.9, teacher_val_auroc=0.9)
    results[0] = CandidateResult(plan.candidates[0], "failed", HOSTILE[0])
    write_page(plan, results, open_store(str(tmp_path / "store")), tmp_path / "page")
    page = Page.read(tmp_path / "page/index.html")
    check(page)
    assert page.column("all-candidates", "class") == list(HOSTILE)
    assert page.column("all-candidates", "class name") == [f"name of {name}" for name in HOSTILE]
    assert set(page.column("all-candidates", "dataset")) == {row.name}
    assert page.column("not-finished", "reason") == [HOSTILE[0]]
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.tables["classes-of-1"][0][1:] == [f"{name} name of {name}" for name in HOSTILE[1:]]
    drawn = [text for text in page.texts["text"] if "$x^{$" in text]
    assert drawn  # in a figure, as it is


# Size


def test_a_page_of_a_thousand_candidates_is_small_and_reads_little(
    plan_of: Callable[..., Plan], stored: dict[str, int], tmp_path: Path
) -> None:
    plan = plan_of(
        normal_classes="all",
        structures=["alone", "kdgan-1", "kdgan-2", "p-kdgan-23"],
        student_widths=[(1, 2, 4), (2, 4, 8), (4, 8, 16), (8, 8, 8), (1, 1, 1)],
        seeds=5,
        training={"epochs": 300},
    )
    assert len(plan.candidates) == 1000
    rng = np.random.default_rng(0)
    results = [
        replace(
            result,
            evaluation=Evaluation(*rng.uniform(0.8, 0.9, 7)),
            teacher_auroc=0.9,
            teacher_val_auroc=0.9,
        )
        for result in finished(plan)
    ]
    write_page(plan, results, open_store(str(tmp_path / "store")), tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 5_000_000
    assert 0 < stored["histories"] <= 200
    assert stored["scores"] == 10
    page = Page.read(tmp_path / "index.html")
    check(page)
    assert len(page.tables["all-candidates"]) == 1001
    assert "A sample: " in " ".join(page.texts["p"])


def test_of_many_datasets_and_classes_some_are_drawn_and_the_page_says_so(
    spec_of: Callable[..., SweepSpec], stored: dict[str, int], tmp_path: Path
) -> None:
    names = [f"c{n}" for n in range(60)]
    spec = spec_of(datasets=[f"folder:{tmp_path}"], normal_classes=names, structures=["alone"])
    row = DatasetRow(
        name=f"folder:{tmp_path}",
        channels=1,
        classes={name: name for name in names},
        load=dataset_row("digits").load,
    )
    plan = make_plan(spec, {spec.datasets[0]: DatasetFacts(row, "x")})
    files = write_page(plan, finished(plan), open_store(str(tmp_path / "store")), tmp_path)
    assert len([file for file in files if "roc" in file]) == stored["scores"] == 20
    assert len([file for file in files if "curves" in file]) == 12
    assert len([file for file in files if "classes" in file]) == 4
    text = " ".join(Page.read(tmp_path / "index.html").texts["p"])
    for said in (
        "36 more classes are in the last table.",
        "A sample: 12 of 60 datasets and classes",
        "40 more datasets and classes are left out.",
    ):
        assert said in text
