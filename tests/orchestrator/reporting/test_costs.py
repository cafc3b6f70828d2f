"""What a detector costs is measured once on a machine, and kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from costs import alone

from kd_models.export.errors import ExportError
from kd_models.methods.ganomaly.networks import NetworkConfig
from kd_models.methods.pkdgan.scores import GanDetector
from orchestrator.planning.storage import cache_path
from orchestrator.reporting import costs
from orchestrator.reporting.costs import cost_of_detector

DETECTOR = GanDetector(network=NetworkConfig(channels=1, widths=(1, 2, 4)))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    """What was measured; each time it takes another microsecond."""
    seen: list[Any] = []

    def measure(scorer: Any, **shape: int) -> Any:
        seen.append(shape)
        return alone(us=float(len(seen)))

    monkeypatch.setattr(costs, "measure_cost", measure)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cost_of_detector.cache_clear()
    yield seen
    cost_of_detector.cache_clear()


def test_another_process_reads_what_was_measured(measured: list[Any]) -> None:
    first = cost_of_detector(DETECTOR, 32)
    cost_of_detector.cache_clear()
    assert cost_of_detector(DETECTOR, 32) == first
    assert measured == [{"channels": 1, "image_size": 32}]


@pytest.mark.parametrize("what", ["detector", "size", "machine", "code", "damage"])
def test_what_is_not_the_same_is_measured_anew(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first = cost_of_detector(DETECTOR, 32)
    cost_of_detector.cache_clear()
    detector, size = DETECTOR, 32
    if what == "detector":
        detector = DETECTOR.model_copy(update={"distance": "mse"})
    elif what == "size":
        size = 64
    elif what == "machine":
        monkeypatch.setattr(costs.platform, "node", lambda: "another")
    elif what == "code":
        monkeypatch.setattr(costs, "_code", lambda package: "changed")
    else:
        (file,) = (cache_path() / "measured").iterdir()
        file.write_text("{")
    assert cost_of_detector(detector, size) != first
    assert len(measured) == 2


def test_where_nothing_can_be_kept_it_is_measured_again(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cost_of_detector(DETECTOR, 32)
    cost_of_detector.cache_clear()
    cost_of_detector(DETECTOR, 32)
    assert len(measured) == 2


def test_a_detector_that_cannot_be_exported_is_named(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(scorer: Any, **shape: int) -> Any:
        raise ExportError("torch.export cannot export its scorer")

    monkeypatch.setattr(costs, "measure_cost", refuse)
    with pytest.raises(ExportError, match=r"^method pkdgan: torch\.export cannot"):
        cost_of_detector(DETECTOR, 32)


def test_a_package_s_code_is_all_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    inner = tmp_path / "measured_package/inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    found = []
    for content in ("a = 1", "a = 2", "a = 1"):
        (inner / "module.py").write_text(content)
        costs._code.cache_clear()
        found.append(costs._code("measured_package"))
    assert found[0] == found[2] != found[1]
    (tmp_path / "measured_module.py").write_text("")
    assert costs._code("measured_module")


def test_of_two_that_measure_at_once_the_first_counts(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cost_of_detector(DETECTOR, 32)
    cost_of_detector.cache_clear()
    # As if the file came while this one measured.
    read, looked = costs._read, []

    def look(file: Path) -> Any:
        looked.append(file)
        return None if len(looked) == 1 else read(file)

    monkeypatch.setattr(costs, "_read", look)
    assert cost_of_detector(DETECTOR, 32) == first
    assert len(measured) == 2
    assert len(list((cache_path() / "measured").iterdir())) == 1  # nothing unfinished is left
