"""Identity by content: the key of a stage is the hash of everything its result depends on."""

import hashlib
import json
from typing import Any

SCHEMA = 1
"""Raised whenever the same config would train to something else, or be stored differently."""


def canonical_json(value: Any) -> str:
    """Spell a JSON value in the one way that hashes equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(data: str | bytes) -> str:
    """Return the SHA-256 of data, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
