"""A store in a folder."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from orchestrator.planning.keys import SCHEMA, sha256
from orchestrator.store.base import CorruptStage, StoreError

MANIFEST = "manifest.json"


class FolderStore:
    """A store in a folder that every machine of the cluster sees."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_writable(self) -> None:
        """Check that stages can be written; see ``Store``."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(
                f"the store {self.root} cannot be written ({error.strerror}); "
                "set storage.store to a folder that can, or change its permissions"
            ) from None

    def write(self, key: str, files: Mapping[str, bytes]) -> None:
        """Store the files of a stage by one rename: of two writers the first wins whole."""
        folder = self._folder(key)
        manifest = {
            "schema": SCHEMA,
            "key": key,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {
                name: {"sha256": sha256(data), "bytes": len(data)} for name, data in files.items()
            },
        }
        temporary = folder.with_name(f".{key}.{uuid.uuid4().hex}")
        temporary.mkdir(parents=True)
        try:
            for name, data in files.items():
                _write(temporary / name, data)
            _write(temporary / MANIFEST, json.dumps(manifest, indent=1).encode())
            self._put(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _put(self, whole: Path, folder: Path) -> None:
        """Give a whole stage its place, in one step: of two writers the first wins."""
        while True:
            try:
                os.rename(whole, folder)
                return
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            try:
                if self.has(folder.name):
                    return
            except CorruptStage:
                pass
            damaged = whole.with_name(f"{whole.name}.damaged")
            with contextlib.suppress(FileNotFoundError):  # another writer may be mending it too
                os.rename(folder, damaged)
            shutil.rmtree(damaged, ignore_errors=True)

    def has(self, key: str) -> bool:
        """Return whether the stage is there, every byte of it read; see ``Store``."""
        try:
            names = self._hashes(key)
        except KeyError:
            return False
        for name in names:
            self.read(key, name)
        return True

    def read(self, key: str, name: str) -> bytes:
        """Return one file of a stored stage, its hash checked; see ``Store``."""
        expected = self._hashes(key)
        path = self._folder(key) / name
        if name not in expected:
            raise CorruptStage(f"{path} is not in the stage's {MANIFEST}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorruptStage(f"{path} cannot be read ({error.strerror})") from None
        if sha256(data) != expected[name]:
            raise CorruptStage(f"{path} is not what {MANIFEST} says (its SHA-256 differs)")
        return data

    def _hashes(self, key: str) -> dict[str, str]:
        # A string is faster than a Path, and a sweep asks this of a hundred thousand stages.
        path = f"{self.root}/stages/{key[:2]}/{key}/{MANIFEST}"
        try:
            with open(path, "rb") as file:
                manifest = json.load(file)
            return {name: entry["sha256"] for name, entry in manifest["files"].items()}
        except FileNotFoundError:
            raise KeyError(key) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptStage(f"{path} cannot be read ({error})") from None

    def _folder(self, key: str) -> Path:
        return self.root / "stages" / key[:2] / key


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
