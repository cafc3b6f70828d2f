"""Photographs in a bucket, copied once to the machine that runs the sweep."""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from kd_models.data import DataError
from kd_models.threads import in_threads, told
from kd_score.image_paths import SUFFIXES, image_paths
from kd_score.names import printable
from orchestrator.console import Say
from orchestrator.planning.storage import S3Access, StorageSpec
from orchestrator.s3_client import AT_ONCE, s3_client

_IN_BUCKET = re.compile(r"(folder|mvtec):s3:/")
_NAME = re.compile(r"(folder|mvtec):s3://([^/\s]+)/(\S.*?)/*")
_NOTED_EVERY = 500
_COPIED = ".copied.json"
"""which objects the files beside it are, by key: their ETag and size"""


def is_in_bucket(dataset: str) -> bool:
    """Return whether a dataset is photographs in a bucket.

    Raises:
        DataError: it seems to be, and is not spelled as one.
    """
    if not _IN_BUCKET.match(dataset):
        return False
    named = _NAME.fullmatch(dataset)
    # The copy's folder is named alike, and whatever else is in it is removed.
    if named is None or not stays_inside(f"{named[2]}/{named[3]}"):
        raise DataError(
            f"{dataset!r} names no photographs; expected folder:s3://BUCKET/PREFIX or "
            "mvtec:s3://BUCKET/PREFIX, where no part of PREFIX is empty, . or .."
        )
    return True


def local_name(dataset: str, storage: StorageSpec, say: Say) -> str:
    """Return the name that a dataset has on this machine.

    Photographs in a bucket are copied below the folder of datasets, and what is there already is
    not copied again; other datasets keep their names.

    Args:
        dataset: as the sweep file writes it.
        storage: where datasets are kept, and how buckets are reached.
        say: told how far it is.

    Raises:
        DataError: the bucket cannot be read, or there is no image in it.
    """
    if not is_in_bucket(dataset):
        return dataset
    found = _NAME.fullmatch(dataset)
    assert found is not None
    kind, bucket, prefix = found.groups()
    folder = storage.data_path / "s3" / bucket / prefix
    folder.mkdir(parents=True, exist_ok=True)
    # Another sweep may copy the same, or from a prefix inside this one.
    with FileLock(storage.data_path / "s3" / f"{bucket}.lock"):
        _bring_up_to_date(folder, bucket, f"{prefix}/", storage.s3, say)
    return f"{kind}:{folder}"


def _bring_up_to_date(folder: Path, bucket: str, prefix: str, access: S3Access, say: Say) -> None:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"s3://{bucket}/{prefix}"
    try:
        with contextlib.closing(s3_client(access.endpoint_url, access.region)) as client:
            _Copy(client, bucket, prefix, folder).bring_up_to_date(where, say)
    except DataError:
        raise
    # ValueError: an endpoint that is no URL.
    except (ClientError, BotoCoreError, Boto3Error, ValueError) as error:
        raise DataError(
            f"{where} cannot be read ({type(error).__name__}: {error}); check the name, the "
            "credentials (s3:ListBucket and s3:GetObject), and the endpoint "
            "(storage.s3.endpoint_url or AWS_ENDPOINT_URL)"
        ) from None


def stays_inside(name: str) -> bool:
    """Return whether a name, which in a bucket is any text, is that of a file below a folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name


class _Copy:
    """A folder that holds the images below a prefix of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str, folder: Path) -> None:
        self._client, self._bucket, self._prefix, self._folder = client, bucket, prefix, folder

    def bring_up_to_date(self, where: str, say: Say) -> None:
        there = self._listed()
        if not there:
            raise DataError(
                f"{where} has no image; expected images below it, in the tree that "
                "docs/sweep-files.md shows"
            )
        self._copy(there, where, say)

    def _listed(self) -> dict[str, list[Any]]:
        """Return ETag and size of every image there is, by its path inside the tree."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        found: dict[str, list[Any]] = {}
        for page in pages:
            for each in page.get("Contents", ()):
                name = each["Key"].removeprefix(self._prefix)
                if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                    continue
                if not stays_inside(name):
                    raise DataError(
                        f"s3://{self._bucket}/{printable(each['Key'])} can be no file's name; "
                        "rename the object"
                    )
                found[name] = [each["ETag"], each["Size"]]
        return found

    def _copy(self, there: Mapping[str, list[Any]], where: str, say: Say) -> None:
        # By what is on the disk: what was copied after the last note stands in no index.
        for path in list(image_paths(self._folder)):
            if path.relative_to(self._folder).as_posix() not in there:
                path.unlink(missing_ok=True)
        index = self._folder / _COPIED
        try:
            before = json.loads(index.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            before = {}
        here = {
            name: entry
            for name, entry in before.items()
            if name in there and entry == there[name] and self._size(name) == entry[1]
        }
        # First, so that nothing that is replaced is taken for what it was.
        self._write(index, here)
        missing = [name for name in there if name not in here]
        if missing:
            size = sum(there[name][1] for name in missing)
            say(f"copying {len(missing):,} images from {where} ({size / 1e6:,.0f} MB)")
        copied = in_threads(self._fetch, missing, AT_ONCE)
        try:
            for number, name in enumerate(
                told(copied, len(missing), f"{where}: images copied", say), start=1
            ):
                here[name] = there[name]
                if number % _NOTED_EVERY == 0:
                    self._write(index, here)
        finally:
            self._write(index, here)  # what was copied need not be copied again

    def _fetch(self, name: str) -> str:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        self._client.download_file(self._bucket, f"{self._prefix}{name}", str(unfinished))
        os.replace(unfinished, path)
        return name

    def _size(self, name: str) -> int | None:
        try:
            return (self._folder / name).stat().st_size
        except OSError:
            return None

    @staticmethod
    def _write(index: Path, copied: Mapping[str, list[Any]]) -> None:
        unfinished = index.with_name(f"{index.name}.unfinished")
        unfinished.write_text(json.dumps(copied), encoding="utf-8")
        os.replace(unfinished, index)
