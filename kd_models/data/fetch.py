"""Download of public datasets: by one process at a time, with errors that a user can act on."""

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kd_models.data.errors import DatasetMissing
from kd_models.data.options import LoadOptions

# torchvision's download and readers raise these: without a network, on a full disk, on a damaged
# archive, and on half-written files (unpacked IDX files have no checksum, so reading them fails in
# assertions and look-ups).
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
    """The files of a public dataset.

    Attributes:
        folder: where they belong.
        names: their names.
        source: where they come from.
        elsewhere: other folders that may have them.
    """

    folder: Path
    names: tuple[str, ...]
    source: str
    elsewhere: tuple[Path, ...] = ()


@contextmanager
def fetching(name: str, root: Path, files: Files, options: LoadOptions) -> Iterator[None]:
    """Guard the reading and, if allowed, the downloading of a dataset.

    Args:
        name: of the dataset, for the message.
        root: the folder that datasets are downloaded into.
        files: those of the dataset.
        options: whether downloads are allowed.

    Raises:
        DatasetMissing: reading or downloading failed; the message names the folder, the reason, and
            the files to put there by hand.
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
    """Keep other processes of this machine from downloading into ``root`` meanwhile.

    Otherwise a process could read what another is still unpacking, or download it again.
    """
    from filelock import FileLock

    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(root / ".download.lock"))
        except OSError:
            pass  # We cannot write here, so no process of ours is unpacking here either.
        yield
