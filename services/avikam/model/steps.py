"""What a step needs of a model, whichever way it is computed."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from avikam.model.config import ModelConfig
from avikam.model.transformer import Adapt, Attend


class StepModel(Protocol):
    """A model through PyTorch, or natively."""

    config: ModelConfig

    def __call__(
        self, tokens: Tensor, positions: Tensor, attend: Attend, adapt: Adapt | None = None, /
    ) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...
