"""Where finished stages live, found by key, and what the record of a stage holds."""

from pathlib import Path

from orchestrator.store.base import Store
from orchestrator.store.folder import FolderStore


def open_store(place: Path) -> Store:
    """Return the store at ``place``, a folder."""
    return FolderStore(place)
