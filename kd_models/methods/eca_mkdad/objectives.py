"""What ECA_MKDAD minimises: how a student's layers differ from its teacher's (Eq. 13)."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from kd_models.methods.distilled import LayerObjective, Pair
from kd_models.methods.errors import mean_squared_error


def feature_distances(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Return how two maps (B, ...) of a distillation layer differ, each (B,).

    The mean squared difference and one minus the cosine of the maps as vectors: the two parts of
    ECA_MKDAD's Eq. 13 (L_val and L_dir of its Eq. 1 and 2), for every image on its own.
    """
    teacher, student = teacher.flatten(1).to(student.dtype), student.flatten(1)
    return mean_squared_error(teacher, student), 1 - F.cosine_similarity(teacher, student, dim=1)


class FeatureObjective(LayerObjective):
    """Eq. 13 of ECA_MKDAD: the student's distillation layers against a fixed teacher's.

    Args:
        student: images to the maps of all its layers.
        layers: which of them are distilled, from 1.
        lambda_: weight of the direction (cosine) beside the value (squared difference).
        run_teacher: as :class:`LayerObjective` takes it.
    """

    def __init__(
        self,
        student: nn.Module,
        layers: Sequence[int],
        lambda_: float,
        run_teacher: Callable[[Tensor], Sequence[Tensor]],
    ) -> None:
        parts = {"value": 1.0, "direction": lambda_}
        weights = {f"{part}/{layer}": parts[part] for layer in layers for part in parts}
        super().__init__(weights, student, layers, run_teacher)

    def terms(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Return both parts of Eq. 13 for each layer."""
        terms: dict[str, Tensor] = {}
        for layer, pair in zip(self.layers, pairs, strict=True):
            value, direction = feature_distances(*pair)
            terms |= {f"value/{layer}": value.mean(), f"direction/{layer}": direction.mean()}
        return terms
