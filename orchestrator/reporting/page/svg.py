"""Figures as SVG for a page: small, with ids of their own, and in the page's colours."""

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NO_TURN = re.compile(r"\s*rotate\(-?0(?: [^)]*)?\)")
_COORDINATES = frozenset(("d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "transform"))
_NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}
"""metadata that would make a file differ each time, or point elsewhere"""
FONTS = "system-ui, 'DejaVu Sans', Verdana, sans-serif"


def to_svg(figure: Figure, name: str, words: str) -> str:
    """Return a figure as an ``svg`` element.

    Its text is text, black is the colour of the text around it, and its ids begin with ``name``.

    Args:
        figure: drawn in the page's style, whose texts remain text.
        name: of no other figure on the page.
        words: what it shows, for those who cannot see it.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata=_NOTHING)
    # Parsed, not replaced as text: names in it may look like anything.
    root = ElementTree.fromstring(written.getvalue().encode("utf-8", "backslashreplace"))
    referenced = {reference for element in root.iter() for reference in _references(element)}
    for element in root.iter():
        _clean(element, name, referenced)
    _drop_empty(root)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {
        "role": "img",
        "aria-label": words,
        "font-family": FONTS,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "style": f"width:100%;max-width:{float(root.attrib['viewBox'].split()[2]) * 1.5:.0f}px",
    }
    return ElementTree.tostring(root, encoding="unicode")


def standalone(svg: str) -> str:
    """Return an ``svg`` element of the page as a file of its own, on white."""
    start = svg.index("<svg") + len("<svg")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<svg xmlns="{_SVG}"{svg[start:]}\n'.replace(
        'style="', 'style="background:#fff;', 1
    )


def _references(element: ElementTree.Element) -> Iterator[str]:
    for name, value in element.attrib.items():
        if name == _HREF:
            yield value.removeprefix("#")
        else:
            yield from _REFERENCE.findall(value)


def _clean(element: ElementTree.Element, name: str, referenced: set[str]) -> None:
    element.tag = element.tag.rpartition("}")[2]  # HTML knows what is inside an svg element
    if element.tag not in ("text", "tspan"):
        element.text = None
    element.tail = None
    cleaned: dict[str, str] = {}
    for key, value in element.attrib.items():
        if key == "id":
            if value not in referenced:
                continue
            value = f"{name}-{value}"
        elif key == _HREF:
            key, value = "href", f"#{name}-{value.removeprefix('#')}"
        elif key in _COORDINATES:
            value = _NUMBER.sub(_rounded, " ".join(value.split()))
            if key == "transform" and not (value := _NO_TURN.sub("", value)):
                continue
        elif key == "style":
            value = _style(value)
        cleaned[key] = _REFERENCE.sub(rf"url(#{name}-\1)", value)
    element.attrib.clear()
    element.attrib.update(cleaned)


def _style(value: str) -> str:
    """Return a style without the fonts of one machine, its black as the colour around it."""
    parts = (part.strip() for part in value.split(";"))
    kept = (part for part in parts if part and not part.startswith("font-family"))
    return ";".join(kept).replace(": ", ":").replace("#000000", "currentColor")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _drop_empty(parent: ElementTree.Element) -> None:
    """Remove invisible shapes, and groups that group nothing."""
    children: list[ElementTree.Element] = []
    for child in list(parent):
        _drop_empty(child)
        if child.tag == "style" or child.attrib.get("style") == "fill:none":
            continue
        if child.tag in ("g", "defs") and not len(child):
            continue
        if child.tag == "g" and not child.attrib:
            children += list(child)
        else:
            children.append(child)
    parent[:] = children
