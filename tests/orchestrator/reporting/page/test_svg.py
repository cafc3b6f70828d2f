"""Figures in the page."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from orchestrator.reporting.fonts import draw_names
from orchestrator.reporting.page.look import drawing, log_scale, panel, short_number
from orchestrator.reporting.page.svg import standalone, to_svg

HOSTILE = '</script><b id="x" style="y">$x^{$ & -->'


@pytest.fixture
def figure() -> Callable[[str], Figure]:
    """A line, a dashed one, a filled area and a title."""

    def draw(title: str) -> Figure:
        made, axes = panel(2)
        axes.plot([1, 2], [1, 2], "o--", color="#000000", label=title)
        axes.hist([1, 2], hatch="//", color="#0072B2")
        axes.set_title(title)
        return draw_names(made)

    return draw


def svg_of(draw: Callable[[str], Figure], title: str, name: str = "a") -> str:
    with drawing():
        return to_svg(draw(title), name, f"shows {title}")


def test_it_is_well_formed_whatever_the_names(figure: Callable[[str], Figure]) -> None:
    svg = svg_of(figure, HOSTILE)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == f"shows {HOSTILE}"
    assert HOSTILE in {element.text for element in root.iter("text")}
    assert "<b" not in svg
    assert "</script" not in svg


def test_two_figures_share_no_id_and_find_their_own_parts(
    figure: Callable[[str], Figure],
) -> None:
    first, second = svg_of(figure, "t", "a"), svg_of(figure, "t", "b")
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        used = {*re.findall(r'href="#([^"]+)"', svg), *re.findall(r"url\(#([^)]+)\)", svg)}
        assert used == own


def test_it_has_the_colours_of_the_page_and_no_address(figure: Callable[[str], Figure]) -> None:
    svg = svg_of(figure, "t")
    assert "#000000" not in svg
    assert "currentColor" in svg
    assert "#0072b2" in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert "DejaVu Sans'" not in svg.partition(">")[2]


def test_a_figure_of_the_same_is_the_same(figure: Callable[[str], Figure]) -> None:
    assert svg_of(figure, "t") == svg_of(figure, "t")


def test_as_a_file_it_is_svg(figure: Callable[[str], Figure]) -> None:
    file = standalone(svg_of(figure, HOSTILE))
    root = ElementTree.fromstring(file.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["style"].startswith("background:#fff;")


@pytest.mark.parametrize("values", [[5.0], [5.0, 6.0], [100.0, 1e6], [4000.0, 6000.0]])
def test_a_scale_of_costs_has_ticks_in_short_numbers(values: list[float]) -> None:
    with drawing():
        made, axes = panel(2)
        axes.plot(values, values, "o")
        log_scale(axes, values)
        draw_names(made)
        made.canvas.draw()
        low, high = axes.get_xlim()
        assert low < min(values) <= max(values) < high
        shown = [t.get_text() for t in axes.get_xticklabels() if low < t.get_position()[0] < high]
    assert 1 <= len(shown) <= 6
    assert all(re.fullmatch(r"[\d.]+[kMG]?", text) for text in shown)


def test_short_numbers() -> None:
    assert [short_number(value) for value in (0.5, 20, 5000, 1_200_000, 3e9)] == [
        *("0.5", "20", "5k", "1.2M", "3G")
    ]
