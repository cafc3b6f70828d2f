"""Adam for lanes that each have a number of steps and a learning rate of their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_EPS = 1e-8


class LaneAdam:
    """Adam (Kingma and Ba 2015) over n lanes.

    Args:
        parameters: what is trained, (n, ...) each where ``stacked``, else of a single lane (...).
        lanes: n.
        betas: of Adam.
        stacked: whether the parameters have a first dimension for the lanes.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        lanes: int,
        betas: tuple[float, float],
        stacked: bool,
    ) -> None:
        self.betas = betas
        self._parameters = list(parameters)
        self._means = [torch.zeros_like(p) for p in parameters]
        self._squares = [torch.zeros_like(p) for p in parameters]
        self._steps = [0] * lanes
        self._lrs = [0.0] * lanes
        self._stacked = stacked

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lrs: Sequence[float]) -> None:
        """Move the first ``len(lrs)`` lanes; the others keep their state."""
        self._lrs[: len(lrs)] = lrs
        start = 0
        for stop in range(1, len(lrs) + 1):
            # Most often all lanes are at the same step, and one call moves all.
            if stop < len(lrs) and self._at(stop) == self._at(start):
                continue
            self._move(start, stop)
            start = stop
        self._steps[: len(lrs)] = [steps + 1 for steps in self._steps[: len(lrs)]]

    def state_of(self, lane: int) -> dict[str, Any]:
        """Return a lane's state in the form in which ``torch.optim.Adam`` keeps its own."""
        steps, lr = self._at(lane)
        state = {
            index: {
                "step": torch.tensor(float(steps)),
                "exp_avg": mean.clone(),
                "exp_avg_sq": square.clone(),
            }
            for index, (mean, square) in enumerate(self._moments(lane))
        }
        return {"state": state, "param_groups": [{"lr": lr, "betas": self.betas}]}

    def restore(self, lane: int, saved: Mapping[str, Any]) -> None:
        """Put a state of :meth:`state_of` into a lane."""
        state = saved["state"]
        for index, (mean, square) in enumerate(self._moments(lane)):
            mean.copy_(state[index]["exp_avg"])
            square.copy_(state[index]["exp_avg_sq"])
        self._steps[lane] = int(state[0]["step"])
        self._lrs[lane] = float(saved["param_groups"][0]["lr"])

    def _at(self, lane: int) -> tuple[int, float]:
        return self._steps[lane], self._lrs[lane]

    def _moments(self, lane: int) -> Iterator[tuple[Tensor, Tensor]]:
        for mean, square in zip(self._means, self._squares, strict=True):
            yield (mean[lane], square[lane]) if self._stacked else (mean, square)

    def _move(self, start: int, stop: int) -> None:
        def part(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [tensor[start:stop] for tensor in tensors] if self._stacked else list(tensors)

        steps, lr = self._at(start)
        first = self._parameters[0]
        counts = torch.full((len(self._parameters),), float(steps), device=first.device)
        adam(
            part(self._parameters),
            part([p.grad for p in self._parameters if p.grad is not None]),
            part(self._means),
            part(self._squares),
            [],
            list(counts.unbind()),
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=lr,
            weight_decay=0,
            eps=_EPS,
            maximize=False,
        )
