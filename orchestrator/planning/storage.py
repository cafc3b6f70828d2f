"""Where a sweep's results live."""

import os
import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from kd_models.names import encodable
from kd_models.values import Value


def is_lost_with_the_job(path: Path) -> bool:
    """Return whether a path is relative to a Ray job's working directory.

    Ray unpacks this directory below its session folder and deletes it later.
    """
    return not path.is_absolute() and "runtime_resources/working_dir_files" in str(Path.cwd())


def _home() -> str:
    return os.environ.get("KD_HOME") or "~/kd-sweeps"


def _whole(place: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(place)))


def sqlite_file(uri: str) -> str | None:
    """Return the file that a SQLite database's URI names, as spelled there; None for other URIs."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///(.*?)(?:\?.*)?", uri, re.DOTALL)
    return found and found[1]


Place = Annotated[str, Field(min_length=1)]


class StorageSpec(Value):
    """Where results live: below ``root``, but for those that have a place of their own."""

    root: Place = Field(default_factory=_home)
    """default $KD_HOME, or ~/kd-sweeps; on a cluster every machine must see it"""
    store: Place | None = None
    """finished stages, found by key by every sweep that uses the same store"""
    data: Place | None = None
    """datasets are downloaded to and read from here"""
    tracking_uri: Place | None = None
    """MLflow: an http(s) server or a database; default $MLFLOW_TRACKING_URI, or a SQLite file"""

    @property
    def root_path(self) -> Path:
        """Return the root, absolute."""
        return _whole(self.root)

    @property
    def store_path(self) -> Path:
        """Return where finished stages live."""
        return _whole(self.store) if self.store else self.root_path / "store"

    @property
    def data_path(self) -> Path:
        """Return where datasets live."""
        return _whole(self.data) if self.data else self.root_path / "data"

    @property
    def runs_path(self) -> Path:
        """Return where checkpoints and locks of running packs live."""
        return self.root_path / "runs"

    @property
    def mlflow_uri(self) -> str:
        """Return where MLflow is."""
        configured = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        return configured or f"sqlite:///{self.root_path / 'mlflow.db'}"

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        places = {"root": self.root, "store": self.store}
        places["tracking_uri"] = sqlite_file(self.mlflow_uri)
        for name, place in {**places, "data": self.data}.items():
            if place is not None and (found := re.match(r"([A-Za-z][\w+.-]*):/", place)):
                raise ValueError(
                    f"{name} is {place!r}; expected a folder: {found[1]} is not supported"
                )
        for name, place in places.items():
            if place is None:
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
