"""What packages of tests say of their student."""

from pathlib import Path
from typing import Any

from costs import alone

from kd_models.package import Measured
from kd_score.detector import SUMS, write_sums


def measured(**changes: Any) -> Measured:
    """What was measured of a student of digits that nobody trained, but for ``changes``."""
    rates = dict.fromkeys(("auroc", "val_auroc", "test_auroc", "gmean", "fpr", "fnr"), 0.5)
    return Measured.model_validate({"protocol": "holdout", **rates, "cost": alone(), **changes})


def sum_up(folder: Path) -> None:
    """Let a package's checksums be those of its files, whatever these are."""
    write_sums(folder, [path.name for path in folder.iterdir() if path.name != SUMS])
