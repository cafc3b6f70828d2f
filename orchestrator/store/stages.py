"""Finished stages by key: blobs named by their content, and a manifest for each stage."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.planning.keys import SCHEMA, sha256
from orchestrator.store.objects import Objects

_MANIFESTS_KEPT = 1000


class CorruptStage(Exception):
    """A stored stage lacks a file, has a damaged one, or is another than was asked for."""

    @property
    def what(self) -> str:
        """What is wrong; the message says what to do as well."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.what}; kd sweep FILE --verify trains again what is missing or damaged"


class Store:
    """Files of finished stages, by key. A stage is written once, whole, and never changed.

    Each file is a blob named by its SHA-256, so that unequal writers of one stage (they differ by
    rounding) write different blobs. The manifest, written last and in one piece, names those of one
    writer. Whoever dies before leaves blobs that nothing names.

    Args:
        objects: where they are.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._manifests: dict[str, Mapping[str, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_manifests": {}}

    @property
    def uri(self) -> str:
        """Return where it is, for people."""
        return self.objects.uri

    def check_writable(self) -> None:
        """Check that stages can be written.

        Raises:
            StoreError: they cannot; the message says where and why.
        """
        self.objects.check_writable()

    def write(self, key: str, files: Mapping[str, bytes]) -> None:
        """Store the files of a stage. The first writer wins, unless what it left is damaged.

        Raises:
            StoreError: they cannot be written.
        """
        entries = {}
        for name, data in files.items():
            entries[name] = {"sha256": sha256(data), "bytes": len(data)}
            self.objects.put(_blob(sha256(data)), data)
        manifest = {
            "schema": SCHEMA,
            "key": key,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": entries,
        }
        written = json.dumps(manifest, indent=1).encode()
        if not self.objects.put_new(_manifest(key), written) and not self._is_whole(key):
            self.objects.put(_manifest(key), written)
        self._manifests.pop(key, None)

    def present(self, keys: Iterable[str]) -> frozenset[str]:
        """Return which stages are there. Their files are not read; see :meth:`verify`.

        Raises:
            StoreError: the place cannot be reached.
        """
        found = self.objects.existing(_manifest(key) for key in keys)
        return frozenset(name.rpartition("/")[2].removesuffix(".json") for name in found)

    def has(self, key: str) -> bool:
        """Return whether a stage is there; its files are not read.

        Raises:
            StoreError: the place cannot be reached.
        """
        return bool(self.present([key]))

    def verify(self, key: str) -> None:
        """Read every byte of a stage.

        Raises:
            CorruptStage: a file is missing or damaged.
            KeyError: the stage is not there.
        """
        for name in self._hashes(key):
            self.read(key, name)

    def read(self, key: str, name: str) -> bytes:
        """Return one file of a stage, its hash checked.

        Raises:
            CorruptStage: the file is missing or damaged.
            KeyError: the stage is not there.
        """
        hashes = self._hashes(key)
        where = f"{self.uri}: {name} of stage {key}"
        if name not in hashes:
            raise CorruptStage(f"{where} is not in the stage's manifest")
        try:
            data = self.objects.get(_blob(hashes[name]))
        except KeyError:
            raise CorruptStage(f"{where} is missing ({_blob(hashes[name])})") from None
        if sha256(data) != hashes[name]:
            raise CorruptStage(
                f"{where} is not what its manifest says: the SHA-256 of {_blob(hashes[name])} "
                "differs"
            )
        return data

    def discard(self, key: str) -> None:
        """Forget a stage, which is damaged: it is not there any more.

        Raises:
            StoreError: the place cannot be written.
        """
        self._manifests.pop(key, None)
        self.objects.delete(_manifest(key))

    def _is_whole(self, key: str) -> bool:
        self._manifests.pop(key, None)
        try:
            self.verify(key)
        except (CorruptStage, KeyError):
            return False
        return True

    def _hashes(self, key: str) -> Mapping[str, str]:
        """Return the SHA-256 of each of a stage's files by its name."""
        hashes = self._manifests.get(key)
        if hashes is None:
            try:
                content = self.objects.get(_manifest(key))
            except KeyError:
                raise KeyError(key) from None
            if len(self._manifests) > _MANIFESTS_KEPT:
                self._manifests.clear()
            try:
                files = json.loads(content)["files"]
                hashes = {name: entry["sha256"] for name, entry in files.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise CorruptStage(
                    f"{self.uri}: {_manifest(key)} cannot be read ({error})"
                ) from None
            self._manifests[key] = hashes
        return hashes


def _manifest(key: str) -> str:
    return f"stages/{key[:2]}/{key}.json"


def _blob(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"
