"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum made orthogonal.

The same steps as :class:`torch.optim.Muon`, whose state it can go on from, with the iteration's
number format to choose: torch's is bfloat16 always, which costs 20 times as much on a processor
without bfloat16 instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration: the steepest slope at zero that stays bounded."""
_STEPS = 5
_SMALLEST = 1e-7


class Muon(torch.optim.Optimizer):
    """For weight matrices only; ``iteration`` is the number format of the orthogonalisation."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        iteration: torch.dtype = torch.float32,
    ) -> None:
        self._iteration = iteration
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[weight], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        update = orthogonal(gradient.lerp(buffer, momentum), self._iteration)
        rows, columns = weight.shape
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def orthogonal(matrix: Tensor, iteration: torch.dtype) -> Tensor:
    """A matrix of the same singular vectors with all singular values near one (0.5 to 1.5).

    Five Newton-Schulz steps in the format ``iteration``; ``matrix`` is [rows, columns].
    """
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.T if tall else matrix).to(iteration, copy=True)
    x.div_(x.norm().clamp(min=_SMALLEST))
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if tall else x
