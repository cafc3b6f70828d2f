"""What packages of tests say of their student."""

from typing import Any

from kd_models.package import Measured


def measured(**changes: Any) -> Measured:
    """What was measured of a student of digits that nobody trained, but for ``changes``."""
    rates = dict.fromkeys(("auroc", "val_auroc", "test_auroc", "gmean", "fpr", "fnr"), 0.5)
    cost = {"params": 49_722, "flops": 76_416, "latency_ms": 0.6}
    own = {f"student_{name}": value for name, value in cost.items()}
    return Measured.model_validate({"protocol": "holdout", **rates, **cost, **own, **changes})
