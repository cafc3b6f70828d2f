"""The processes that train one network together, and the few things they exchange."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """``size`` processes, of which this is ``rank``. Alone by default."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Average the gradients of ``objective`` over all processes at every backward.

        Buffers are not broadcast at every step (that would write to them between two forwards
        of one backward); :meth:`average_buffers` does it once an epoch.
        """
        if self.size == 1:
            return objective
        return DistributedDataParallel(objective, forward_sync_buffers=False)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` over all processes."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def gather(self, value: T) -> list[T]:
        """Return the small value of every process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def in_every_process(self, compute: Callable[[], T], kind: type[Exception]) -> T:
        """Return what ``compute`` returns, or raise in every process where one of them raises.

        Otherwise one process would leave the others waiting for it. Photographs, for one, may be
        missing on one machine alone.

        Args:
            compute: called in every process. It raises before it exchanges anything with the
                others, or in all of them.
            kind: of the errors that all processes are told of, made of a message; others are
                raised where they arise.
        """
        error: Exception | None = None
        try:
            result = compute()
        except kind as raised:
            error = raised
        found = self.gather(None if error is None else str(error))
        if error is not None:
            raise error
        for message in found:
            if message is not None:
                raise kind(f"in another worker: {message}")
        return result

    def average_buffers(self, *modules: nn.Module) -> None:
        """Give every process the same running statistics: their mean.

        Each process sees its own part of every batch, so its running averages differ.
        """
        buffers = [b for m in modules for b in m.buffers() if b.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        flat = self.mean(torch.cat([b.flatten() for b in buffers]))
        for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))

    def map_rows(self, compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return ``compute(rows)``, each process computing a part and all receiving the whole.

        Args:
            compute: (n, ...) -> (n, ...), each row on its own.
            rows: (N, ...), the same in every process.

        Rows that pad the last part to equal length are dropped again, so none counts twice.
        """
        if self.size == 1:
            return compute(rows)
        share = -(-len(rows) // self.size)
        own = torch.arange(self.rank * share, (self.rank + 1) * share).clamp(max=len(rows) - 1)
        part = compute(rows[own.to(rows.device)]).contiguous()
        # Received in place: joining the parts would hold everything twice.
        whole = part.new_empty((self.size * share, *part.shape[1:]))
        dist.all_gather(list(whole.split(share)), part)
        return whole[: len(rows)]
