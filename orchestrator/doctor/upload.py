"""What ``ray job submit --working-dir .`` would upload."""

import logging
from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.findings import Finding, Look
from orchestrator.planning.storage import is_lost_with_the_job

_LARGE_BYTES = 100 << 20


def look_at_upload(folder: Path) -> Iterator[Finding]:
    """Yield whether a folder is small enough to be a job's working directory.

    A folder that is too large is a warning, since it is compressed on its way, and since not every
    sweep is uploaded.

    Args:
        folder: usually the current one; nothing is said of one that is no copy of the project, or
            was uploaded already.
    """
    if not (folder / "jobs/sweep.py").is_file() or is_lost_with_the_job(Path()):
        return
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env import packaging

    look, files = Look("upload"), dict[Path, int]()

    def note(path: Path) -> None:
        if path.is_file():
            files[path] = path.stat().st_size

    # Ray's own way through the folder: nothing else knows what it leaves out.
    left_out = [packaging._get_excludes(folder, list(get_runtime_env_default_excludes()))]
    packaging._dir_travel(
        folder, left_out, note, include_gitignore=True, logger=logging.getLogger(__name__)
    )
    size, most = sum(files.values()), packaging.GCS_STORAGE_MAX_SIZE
    what = (
        f"{size / 1e6:,.1f} MB before compression, in {len(files):,} files, would be uploaded from "
        f"{folder}"
    )
    if size < _LARGE_BYTES:
        yield look.ok(what)
        return
    largest = max(files, key=files.__getitem__)
    what += f", the largest is {largest.relative_to(folder)} with {files[largest] / 1e6:,.0f} MB"
    if size >= most:
        what += f"; Ray takes {most / 1e6:,.0f} MB after compression"
    yield look.warning(
        what, "name in .rayignore what a sweep does not need, or submit from another folder"
    )
