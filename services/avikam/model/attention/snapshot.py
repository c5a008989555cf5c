"""What a slot holds after a prefix: the valid entries of every layer, in their smallest exact form.

Rotary positions are inside the keys, so a snapshot of n tokens, put into any slot, continues at
token n as if the slot had computed the prefix itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from avikam.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class EntryFormat:
    """One stored tensor of one layer: ``shape`` [Hkv, valid entries, ...]."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of a tensor of this format."""
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after ``seen`` tokens: per layer its tensors, each [Hkv, valid entries, ...]."""

    seen: int
    layers: tuple[tuple[Tensor, ...], ...]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(t.numel() * t.element_size() for layer in self.layers for t in layer)

    @property
    def finite(self) -> bool:
        """Whether no entry is NaN or infinite; integers always are finite."""
        floats = (t for layer in self.layers for t in layer if t.is_floating_point())
        return all(bool(torch.isfinite(t).all()) for t in floats)


class SlotStore(Protocol):
    """Slots whose states can be taken, put back and wiped, wherever they lie."""

    config: ModelConfig
    slots: int
    device: str

    @property
    def name(self) -> str:
        """What kind of slots they are."""

    @property
    def longest_chunk(self) -> int:
        """Tokens that one step may add to a slot."""

    def bytes_per_slot(self) -> int:
        """Memory of one slot."""

    def clear(self, slot: int) -> None:
        """Forget what a slot holds."""

    def snapshot(self, slot: int, seen: int) -> Snapshot:
        """A copy of a slot's state after ``seen`` tokens."""

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Put a state into a slot."""

    def entry_formats(self, layer: int, seen: int) -> tuple[EntryFormat, ...]:
        """Formats of a layer's tensors in a snapshot after ``seen`` tokens."""
