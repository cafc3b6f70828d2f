"""A memory of normal images' feature vectors, by the distance to which images are scored.

Shapes: B images, N training images, K nearest ones, M images in memory, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Neighbours(nn.Module):
    """Mean distance of rows to their nearest ones in a memory.

    The memory is a parameter, since it has to be deployed and counts as such.

    Args:
        size: F.
        memory: M.
        neighbours: how many of them count, at most M.
    """

    def __init__(self, size: int, memory: int, neighbours: int) -> None:
        super().__init__()
        self.memory_MF = nn.Parameter(torch.zeros(memory, size), requires_grad=False)
        self._neighbours = neighbours

    def forward(self, rows_BF: Tensor) -> Tensor:
        """Return the mean distances (B,)."""
        # Which are the nearest is told by products; how far they are would be lost to rounding.
        halves_M = self.memory_MF.square().sum(1) / 2
        closeness_BM = functional.linear(rows_BF, self.memory_MF, -halves_M)
        nearest_BK = closeness_BM.topk(self._neighbours, dim=1).indices
        apart_BKF = rows_BF[:, None] - functional.embedding(nearest_BK, self.memory_MF)
        distances: Tensor = torch.linalg.vector_norm(apart_BKF, dim=2).mean(1)
        return distances

    @torch.no_grad()
    def fit(self, rows_NF: Tensor) -> None:
        """Keep rows, evenly chosen from the first to the last."""
        self.memory_MF.copy_(
            rows_NF[evenly_chosen(len(rows_NF), len(self.memory_MF), rows_NF.device)]
        )


def evenly_chosen(images: int, memory: int, device: torch.device) -> Tensor:
    """Return the rows (M,) of ``memory`` out of so many images, from the first to the last."""
    return torch.linspace(0, images - 1, memory).round().long().to(device)
