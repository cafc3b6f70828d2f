"""How a student's layers differ from its teacher's, by what they hold and by how they relate.

Shapes: B images, C and D channels of two layers, P positions.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from kd_models.methods.distilled import Pair
from kd_models.methods.errors import mean_squared_error


def relations(pairs: Sequence[Pair]) -> list[Tensor]:
    """Return the distances of the FSP matrices of each two neighbouring layers, (B,) each."""
    return [fsp_distance(first, second) for first, second in pairwise(pairs)]


def values(pairs: Sequence[Pair]) -> list[Tensor]:
    """Return the mean squared difference of each layer's maps, (B,) each."""
    return [mean_squared_error(teacher.to(student.dtype), student) for teacher, student in pairs]


def fsp_distance(first: Pair, second: Pair) -> Tensor:
    """Return how the FSP matrices of teacher and student between two layers differ, (B,).

    An FSP matrix (C, D) holds the inner products of the channels of two layers over their
    positions, divided by how many positions there are (Yim et al., Eq. 1); a larger map is
    max-pooled to the smaller one's size first. The distance is the squared Frobenius norm of the
    matrices' difference (Eq. 2), divided by the number of its entries.

    Args:
        first: a layer's maps, of teacher and student, (B, C, ...) each.
        second: the same of a later layer, (B, D, ...).
    """
    size = second[1].shape[-1]
    t1_BCP, s1_BCP = (_positions(x, size).to(first[1].dtype) for x in first)
    t2_BDP, s2_BDP = (_positions(x, size).to(second[1].dtype) for x in second)
    # T1 T2' - S1 S2' = (T1 - S1) T2' + S1 (T2 - S2)': of differences, so that nothing of the
    # small distances of a trained student is lost to rounding.
    left = torch.cat([t1_BCP - s1_BCP, s1_BCP], 2)
    right = torch.cat([t2_BDP, t2_BDP - s2_BDP], 2)
    entries, columns = left.shape[1] * right.shape[1], left.shape[2]
    if columns**2 < entries:
        # |L R'|^2 = <L'L, R'R>, much smaller matrices where channels are many and positions few.
        squares = (left.mT @ left) * (right.mT @ right)
    else:
        squares = (left @ right.mT).square()
    return squares.flatten(1).sum(1) / (entries * t1_BCP.shape[2] ** 2)


def _positions(map_BCHW: Tensor, size: int) -> Tensor:
    """Return a map of S pixels a side, pooled to ``size``, as (B, C, P)."""
    pooled = map_BCHW.shape[-1] // size
    return (F.max_pool2d(map_BCHW, pooled) if pooled > 1 else map_BCHW).flatten(2)
