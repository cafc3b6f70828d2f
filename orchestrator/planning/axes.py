"""What the names of a method's axes may be."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from kd_models.evaluation.cost import COST_METRICS
from kd_models.evaluation.metrics import Evaluation
from kd_models.methods.base import Step
from orchestrator.planning.spec import SpecError

TAKEN_AXES = frozenset(
    (
        *(field.name for field in fields(Evaluation)),
        *COST_METRICS,
        *("dataset", "normal_class", "method", "student", "seed", "step", "role", "sweep"),
        *("seeds", "auroc_mean", "auroc_spread", "val_auroc_mean", "val_auroc_spread"),
        *("test_auroc_mean", "test_auroc_spread", "above_alone"),
        *("kind", "label", "configuration", "methods"),
        *("stage_key", "parent_keys", "run_id", "status", "reason", "complete", "protocol"),
        *("teacher_auroc", "teacher_val_auroc", "difference_to_teacher", "pixel_auroc", "pro"),
        *("preprocessing", "sha256sums", "runner_up", "chosen_by", "chosen_seeds"),
    )
)
"""Names that no axis may have, since the rows of results and the tags of runs and of registered
students use them otherwise."""


def check_axes(method: str, axes: Mapping[str, Any], step: Step) -> None:
    """Check the axes of a method's variants.

    Args:
        method: name of the method.
        axes: the values by axis of one of its variants.
        step: the variant's last step.

    Raises:
        SpecError: an axis has a name that is taken, or the step's axis is none of them.
    """
    taken = sorted(TAKEN_AXES & axes.keys())
    if taken:
        raise SpecError(
            f"method {method} has an axis {', '.join(taken)}, which results have for something "
            "else; its package must give it another name"
        )
    if step.axis not in axes:
        raise SpecError(
            f"method {method}: its step's axis {step.axis} is none of its variants' axes "
            f"({', '.join(axes)}); its package must name one of them"
        )
