"""Names that a file system allows, as text that every file, database and table can hold.

On Linux a name is any bytes but ``/`` and NUL. Python holds those that are no UTF-8 as lone
surrogates, which no database, font or UTF-8 stream takes; line ends and other control characters
break tables and logs.
"""

import hashlib
import re
import shlex
from pathlib import Path

_ESCAPE = re.compile(r"\\(?:\\|x[89a-f][0-9a-f]|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})")
_BYTES = range(0xDC80, 0xDD00)
"""how Python holds the bytes 80 to ff of a name that is not UTF-8 (PEP 383)"""


def printable(name: str) -> str:
    r"""Return a name as valid, printable Unicode, distinct from that of every other name.

    Most names stay as they are. A byte that is no UTF-8 becomes ``\xff``, a character that is not
    printable (a line end, a direction mark) ``\u000a`` or ``\U000e0001``, a backslash ``\\``.
    """
    return name if name.isprintable() and "\\" not in name else "".join(map(_escaped, name))


def shown(path: Path) -> str:
    """Return a path as messages show it: on one line, whatever its folders are called."""
    return printable(str(path))


def original(text: str) -> str:
    r"""Return the name whose :func:`printable` form is ``text``; what is no escape stays."""
    return _ESCAPE.sub(lambda found: _meant(found[0]), text)


def together(*names: str) -> str:
    """Return printable names in one line.

    Those with spaces are quoted, so that no two lists of names read alike.
    """
    return " ".join(
        shlex.quote(name) if not name or re.search(r"[\s'\"]", name) else name for name in names
    )


def shortened(name: str, most: int) -> str:
    """Return a name of at most ``most`` characters, distinct from that of every other name."""
    if len(name) <= most:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{name[: most - len(digest) - 1]}-{digest}"


def encodable(text: str) -> str:
    """Return free text in which whatever UTF-8 cannot hold is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def harmless(text: str) -> str:
    """Return text of any origin in a form that cannot command a terminal.

    Control characters are spelled out; line ends and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return r"\\"
    if character.isprintable():
        return character
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _meant(escape: str) -> str:
    if escape == r"\\":
        return "\\"
    code = int(escape[2:], 16)
    return chr(code + 0xDC00 if escape[1] == "x" else code)
