"""Slots that keep keys and values as floats."""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.model.attention.slots import SlotCache
from avikam.model.config import ModelConfig


class FloatSlots(SlotCache):
    """Plain softmax attention in the storage type; agrees with the reference forward."""

    name = "float"

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._dtype = dtype
        super().__init__(config, slots, device)

    def _storage(self, length: int) -> list[Tensor]:
        shape = (self.slots, self.config.num_kv_heads, length, self.config.head_dim)
        return [torch.zeros(shape, dtype=self._dtype, device=self.device) for _ in range(2)]

    def _entry(self, k: Tensor, v: Tensor) -> list[Tensor]:
        return [k.to(self._dtype), v.to(self._dtype)]

    def _mix(self, q: Tensor, known: list[Tensor], mask: Tensor) -> Tensor:
        keys, values = known
        scores = (q.to(self._dtype) @ keys.transpose(-1, -2)).float() * self.config.head_dim**-0.5
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return (weights.to(self._dtype) @ values).to(q.dtype)
