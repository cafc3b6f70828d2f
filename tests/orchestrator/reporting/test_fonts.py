"""Names in pictures: as they are, or at least distinct."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray

from orchestrator.reporting import fonts
from orchestrator.reporting.fonts import FAMILY, draw_names

HAN = [f for f in font_manager.findSystemFonts() if "wqy" in Path(f).name.lower()]


def pixels(text: str) -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=(4, 0.5))
    figure.text(0.02, 0.3, text)
    canvas = FigureCanvasAgg(draw_names(figure))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def texts(*titles: str) -> list[tuple[str, list[str]]]:
    figure = Figure()
    for title in titles:
        figure.text(0, 0, title)
    return [(t.get_text(), t.get_fontfamily()) for t in draw_names(figure).texts]


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_of_this_machine", lambda: (FAMILY,))


def test_most_names_are_left_alone() -> None:
    assert texts("bottle Größe\n2") == [("bottle Größe\n2", [FAMILY])]


@pytest.mark.usefixtures("no_other_fonts")
def test_what_no_font_has_is_spelled_and_so_distinct() -> None:
    assert [text for text, _ in texts("螺丝", "螺母 1", "🔩")] == [
        r"\u87ba\u4e1d",
        r"\u87ba\u6bcd 1",
        r"\U0001f529",
    ]
    assert not np.array_equal(pixels("螺丝"), pixels("螺母"))


@pytest.mark.filterwarnings("error")
def test_what_is_no_character_is_spelled_too() -> None:
    assert [text for text, _ in texts("a\udcff", "\x01")] == [r"a\udcff", r"\u0001"]
    assert pixels("a\udcff").any()


@pytest.mark.skipif(not HAN, reason="no Chinese font here (Debian: fonts-wqy-zenhei)")
@pytest.mark.filterwarnings("error")  # matplotlib warns of glyphs that are missing
def test_chinese_is_drawn_in_a_font_that_has_it() -> None:
    ((text, families),) = texts("螺丝 1")
    assert text == "螺丝 1"
    assert len(families) == 2
    assert not np.array_equal(pixels("螺丝"), pixels("螺母"))


def test_a_dollar_is_no_mathematics() -> None:
    assert not np.array_equal(pixels("$x$"), pixels("x"))
    assert pixels("$x^{$").any()
