"""Identity by content: the key of a stage is the hash of everything its result depends on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 1
"""Raised whenever the same config would train to something else, or be stored differently."""


class Encoded:
    """A JSON value together with its canonical text, so that it is encoded once."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.text = canonical_json(value)


def canonical_json(value: Any) -> str:
    """Spell a JSON value, whose parts may be encoded, in the one way that equal values share."""
    if isinstance(value, Encoded):
        return value.text
    if isinstance(value, Mapping):
        return (
            "{" + ",".join(f"{_encode(k)}:{canonical_json(value[k])}" for k in sorted(value)) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    return _encode(value)


_encode = json.JSONEncoder(allow_nan=False).encode


def sha256(data: str | bytes) -> str:
    """Return the SHA-256 of data, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
