"""Names in pictures: fonts that have their characters, and a spelling where none has."""

import logging
from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

FAMILY = "DejaVu Sans"
"""matplotlib's own, which every machine has"""
_LAST = "Last Resort"
"""a font with a picture for each script, the same for all of its characters"""

# It would log for every font without a regular weight which weight it took.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def draw_names(figure: Figure) -> Figure:
    """Make every text of a figure appear as it is.

    A dollar starts no formula. Characters that matplotlib's own font lacks are drawn in a font of
    this machine; those that no font has are spelled by their number, since empty boxes look alike.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        characters = text.get_text()
        families = _families(characters)
        text.set_parse_math(False)
        text.set_fontfamily(families)
        text.set_text("".join(c if _has(families, c) else _spelled(c) for c in characters))
    return figure


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _has(families: Iterable[str], character: str) -> bool:
    if not character.isprintable():  # fonts have blanks for some of these
        return character == "\n"
    return any(_glyph(family, character) for family in families)


def _families(characters: str) -> list[str]:
    """Return matplotlib's family and as few others as have the rest of the characters."""
    families = [FAMILY]
    missing = {c for c in characters if not _has(families, c)}
    while missing:
        found = {family: {c for c in missing if _glyph(family, c)} for family in _of_this_machine()}
        best = max(found, key=lambda family: len(found[family]), default=None)
        if best is None or not found[best]:
            break
        families.append(best)
        missing -= found[best]
    return families


@cache
def _of_this_machine() -> tuple[str, ...]:
    """Return the families of upright fonts, also those installed since matplotlib last looked."""
    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(path)
        except Exception:  # whatever is wrong with a font, others may do
            continue
    return tuple(
        sorted({f.name for f in manager.ttflist if f.style == "normal" and _LAST not in f.name})
    )


@cache
def _glyph(family: str, character: str) -> bool:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return bool(font_manager.get_font(path).get_char_index(ord(character)))
