"""A sweep that a browser looks at."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Swept:
    """A sweep that ended, in an MLflow server."""

    uri: str
    file: Path
    answer: Any
    champions: Any
    environment: dict[str, str]

    @property
    def students(self) -> list[Any]:
        """The candidates that are students, best first."""
        rows = [row for row in self.answer["candidates"] if row["kind"] == "student"]
        return sorted(rows, key=lambda row: -row["val_auroc"])


def kd(environment: dict[str, str], *arguments: str) -> Any:
    """Run a command, and return its answer."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kd")), *arguments, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
