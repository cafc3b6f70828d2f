"""Fetching a public dataset: one process at a time, and an error one can act on."""

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kd_models.data.errors import DatasetMissing
from kd_models.data.options import LoadOptions

# What torchvision's download and readers raise: no network, a full disk, a damaged archive, and
# (IDX files carry no checksum once unpacked) assertions and look-ups on half-written files.
_FAILURES = (
    RuntimeError,
    OSError,
    HTTPException,
    EOFError,
    zlib.error,
    tarfile.TarError,
    AssertionError,
    LookupError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a public dataset: where they belong, and where they come from."""

    folder: Path
    names: tuple[str, ...]
    source: str
    elsewhere: tuple[Path, ...] = ()


@contextmanager
def fetching(name: str, root: Path, files: Files, options: LoadOptions) -> Iterator[None]:
    """Around reading (and, if allowed, downloading) the dataset `name`.

    Raises DatasetMissing for whatever goes wrong inside: it names the folder, the reason, and the
    files to put there by hand.
    """
    try:
        with downloading(root) if options.download else nullcontext():
            yield
    except _FAILURES as error:
        where = " or ".join(map(str, (files.folder, *files.elsewhere)))
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "To do without the download," if options.download else "Allow the download, or"
        raise DatasetMissing(
            f"{name}: no usable files in {where} ({reason}). {remedy} put these files into "
            f"{files.folder}, in place of any that are there: {', '.join(files.names)} "
            f"(from {files.source})"
        ) from error


@contextmanager
def downloading(root: Path) -> Iterator[None]:
    """Keep other processes of this machine from downloading into `root` meanwhile.

    None may read what another is still unpacking, nor fetch it once more.
    """
    from filelock import FileLock

    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(root / ".download.lock"))
        except OSError:
            pass  # Not writable for us: then nothing is being unpacked there by us either.
        yield
