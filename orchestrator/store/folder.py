"""Named bytes in a folder."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from orchestrator.store.objects import StoreError

_UNFINISHED = ".unfinished-"
"""what the names of files begin with that are still being written"""


class FolderObjects:
    """Named bytes in a folder, which every machine at work must see.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        """Return the folder's path."""
        return str(self.root)

    def check_writable(self) -> None:
        """Check that files can be written; see ``Objects``."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"written")
                probe.seek(0)
                if probe.read() != b"written":
                    raise OSError(errno.EIO, "it gives back something else")
        except OSError as error:
            raise StoreError(
                f"the store {self.root} cannot be written ({error.strerror}); set storage.root "
                "and storage.store to folders that can, or change their permissions"
            ) from None

    def put(self, name: str, data: bytes) -> None:
        """Write a file beside its place and rename it; see ``Objects``."""
        path = self.root / name
        with self._written(path, data) as unfinished:
            os.replace(unfinished, path)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file beside its place and link it there; see ``Objects``."""
        path = self.root / name
        if self.existing([name]):
            return False
        with self._written(path, data) as unfinished:
            try:
                os.link(unfinished, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                # No links on this file system: of two writers the last wins, whole too.
                os.replace(unfinished, path)
        return True

    def has_conditions(self) -> bool:
        """Try whether the file system has links; see ``Objects``."""
        probe = f"probe-{uuid4().hex}"
        with self._written(self.root / probe, b"") as unfinished:
            try:
                os.link(unfinished, self.root / probe)
            except OSError:
                return False
        self.delete(probe)
        return True

    def get(self, name: str) -> bytes:
        """Return a file's bytes; see ``Objects``."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(name) from None
        except OSError as error:
            raise StoreError(f"{self.root / name} cannot be read ({error.strerror})") from None

    def existing(self, names: Iterable[str]) -> frozenset[str]:
        """Return which files there are; see ``Objects``."""
        # Strings are faster than paths, and a sweep may ask for a hundred thousand.
        root = str(self.root)
        return frozenset(name for name in names if os.path.exists(f"{root}/{name}"))

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the files below a folder; see ``Objects``."""
        for folder, _, files in os.walk(self.root / prefix):
            below = Path(folder).relative_to(self.root).as_posix()
            yield from (f"{below}/{file}" for file in files if not file.startswith(_UNFINISHED))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there; see ``Objects``."""
        try:
            (self.root / name).unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise StoreError(f"{self.root / name} cannot be deleted ({error.strerror})") from None

    @contextlib.contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write a file beside ``path``, whole and on the disk, and remove it in the end."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{_UNFINISHED}{uuid4().hex}")
            try:
                with unfinished.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                yield unfinished
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror})") from None
