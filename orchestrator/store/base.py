"""What every store of finished stages does."""

from collections.abc import Mapping
from typing import Protocol

from orchestrator.errors import UserError


class StoreError(UserError):
    """The store cannot be used."""


class CorruptStage(Exception):
    """A file of a stored stage is missing or not what its manifest says."""


class Store(Protocol):
    """Files of finished stages, by key. Written once, whole, and never changed."""

    def check_writable(self) -> None:
        """Check that stages can be written.

        Raises:
            StoreError: they cannot; the message says where and why.
        """

    def write(self, key: str, files: Mapping[str, bytes]) -> None:
        """Store the files of a stage; it is there when the manifest, written last, is there."""

    def has(self, key: str) -> bool:
        """Return whether the stage is there with every file as its manifest says.

        Raises:
            CorruptStage: it was stored, but is damaged.
        """

    def read(self, key: str, name: str) -> bytes:
        """Return one file of a stored stage.

        Raises:
            CorruptStage: the file is missing or damaged.
            KeyError: the stage is not there.
        """
