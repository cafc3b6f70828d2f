"""Where a sweep's results live."""

import os
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from kd_models.values import Value
from kd_score.names import encodable


def is_lost_with_the_job(path: Path) -> bool:
    """Return whether a path is relative to a Ray job's working directory.

    Ray unpacks this directory below its session folder and deletes it later.
    """
    return not path.is_absolute() and "runtime_resources/working_dir_files" in str(Path.cwd())


_DEFAULT_HOME = "~/kd-sweeps"


def _home() -> str:
    return os.environ.get("KD_HOME") or _DEFAULT_HOME


def cache_path() -> Path:
    """Return where what can be made again is kept, one folder for all of a person's sweeps."""
    return _whole(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kd-orchestrator"


def _whole(place: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(place)))


def sqlite_file(uri: str) -> str | None:
    """Return the file that a SQLite database's URI names, as spelled there; None for other URIs."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///(.*?)(?:\?.*)?", uri, re.DOTALL)
    return found and found[1]


Place = Annotated[str, Field(min_length=1)]

_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):/")
_S3 = re.compile(r"s3://[^/\s?#]+(?:/[^?#]*)?")


def is_s3(place: str) -> bool:
    """Return whether a place is in a bucket rather than a folder."""
    return place.startswith("s3://")


class S3Access(Value):
    """How buckets are reached. Credentials are those that boto3 finds by itself."""

    endpoint_url: Place | None = None
    """of a server that is not AWS; None for where ``AWS_ENDPOINT_URL`` says, or AWS"""
    region: Place | None = None


class StorageSpec(Value):
    """Where results live: below ``root``, but for those that have a place of their own."""

    root: Place = Field(default_factory=_home)
    """a folder that every machine sees, or s3://bucket/prefix; default $KD_HOME, or ~/kd-sweeps"""
    store: Place | None = None
    """finished stages, found by key by every sweep that uses the same store"""
    data: Place | None = None
    """datasets are downloaded to and read from this folder"""
    tracking_uri: Place | None = None
    """MLflow: an http(s) server or a database; default $MLFLOW_TRACKING_URI, or a SQLite file"""
    s3: S3Access = S3Access()

    @property
    def local_path(self) -> Path:
        """Return the root, absolute; where it is a bucket, a folder for what cannot be there."""
        if not is_s3(self.root):
            return _whole(self.root)
        home = _home()
        return _whole(_DEFAULT_HOME if is_s3(home) else home)

    @property
    def root_uri(self) -> str:
        """Return where checkpoints and leases live: a folder, absolute, or a bucket."""
        return self.root.rstrip("/") if is_s3(self.root) else str(self.local_path)

    @property
    def store_uri(self) -> str:
        """Return where finished stages live: a folder, absolute, or a bucket."""
        if self.store is None:
            return f"{self.root_uri}/store"
        return self.store.rstrip("/") if is_s3(self.store) else str(_whole(self.store))

    @property
    def data_path(self) -> Path:
        """Return where datasets live."""
        return _whole(self.data) if self.data else self.local_path / "data"

    @property
    def mlflow_uri(self) -> str:
        """Return where MLflow is."""
        configured = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return configured or f"sqlite:///{self.local_path / 'mlflow.db'}"

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        places = {"root": self.root, "store": self.store}
        places["tracking_uri"] = sqlite_file(self.mlflow_uri)
        for name, place in {**places, "data": self.data}.items():
            if place is None:
                continue
            may_be_s3 = name in ("root", "store")
            if may_be_s3 and _S3.fullmatch(place):
                continue
            if found := _SCHEME.match(place):
                expected = "a folder or s3://bucket/prefix" if may_be_s3 else "a folder"
                raise ValueError(
                    f"{name} is {place!r}; expected {expected}: {found[1]} is not supported"
                )
        for name, place in places.items():
            if place is None or is_s3(place):
                continue
            if is_lost_with_the_job(Path(os.path.expanduser(place))):
                raise ValueError(
                    f"{name} is {place!r}, relative to a Ray job's working directory, "
                    "which is deleted with the job; give an absolute path"
                )
            if encodable(place) != place:
                raise ValueError(f"{name} is {place!r}, which is not UTF-8; give another folder")
        if not (self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")) and "?" in self.root:
            raise ValueError(
                f"root is {self.root!r}: what follows the question mark is no part of a "
                "database's name; give another folder, or a tracking_uri"
            )
        return self
