"""The base of every config value in the project: frozen, checked, without unknown keys."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]


class Value(BaseModel):
    """A frozen value that rejects unknown keys and converts nothing.

    So ``"3"`` and ``true`` are no numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return a hint, ``; did you mean epochs?``, or an empty string when nothing is near."""
    near = difflib.get_close_matches(str(name), list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def look_up(name: str, there_are: Mapping[str, T], kind: str) -> T:
    """Return the entry called ``name``.

    Args:
        name: of the entry.
        there_are: the entries by name.
        kind: what an entry is called in the message.

    Raises:
        ValueError: there is no such entry; the message lists all of them, and the nearest.
    """
    try:
        return there_are[name]
    except (KeyError, TypeError):  # TypeError: the name is a list, say
        raise ValueError(
            f"{name!r} is no {kind}; the {kind}s are {', '.join(there_are)}"
            f"{nearest(name, there_are)}"
        ) from None


def short_text(value: Any) -> str:
    """Return a JSON value in one short word: 1-2-4 for a list, k1=1,kx=0.5 for a mapping."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={short_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "-".join(map(short_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
