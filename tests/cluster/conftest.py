"""Whole sweeps as a user runs them: real processes, a real Ray, a real MLflow."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.store import open_store
from orchestrator.store.record import NETWORKS

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finished:
    """A sweep that ended."""

    code: int
    answer: dict[str, Any]
    log: str


@dataclass(frozen=True)
class Home:
    """A $KD_HOME of its own with a sweep file in it."""

    path: Path
    file: Path

    def with_file(self, name: str, spec: dict[str, Any]) -> "Home":
        """The same home with another sweep file."""
        file = self.path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(spec))
        return Home(self.path, file)

    def start(self, log: str = "log", **environment: str) -> subprocess.Popen[str]:
        """Start the sweep; what it tells goes to the file ``log``."""
        with (self.path / log).open("a") as output:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "jobs/sweep.py"), str(self.file), "--json"],
                env={**os.environ, "KD_HOME": str(self.path), **environment},
                cwd=self.path,  # not the project: the job has to find itself
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )

    def finish(self, process: subprocess.Popen[str], log: str = "log") -> Finished:
        out, _ = process.communicate(timeout=600)
        output = (self.path / log).read_text()
        return Finished(process.returncode, json.loads(out) if out else {}, output)

    def run(self, **environment: str) -> Finished:
        return self.finish(self.start(**environment))

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def database(self) -> str:
        return f"sqlite:///{self.path / 'mlflow.db'}"

    def stored(self) -> dict[str, bytes]:
        """Return the stored networks by stage key."""
        store = open_store(f"{self.path}/store")
        keys = [path.stem for path in self.path.glob("store/stages/*/*.json")]
        return {key: store.read(key, NETWORKS) for key in keys}

    def checkpoints(self, key: str) -> list[Path]:
        return list(self.path.glob(f"checkpoints/*/{key}"))


@pytest.fixture
def home_with(tmp_path: Path) -> Callable[..., Home]:
    """Make homes: ``home_with(name, spec)``."""

    def make(name: str, spec: dict[str, Any]) -> Home:
        path = tmp_path / name
        path.mkdir()
        file = path / "sweep.yaml"
        file.write_text(yaml.safe_dump(spec))
        return Home(path, file)

    return make
