"""Where a slot keeps which token.

A hybrid layer (window 8, stride 4 in the drawing) keeps a ring of the last ``window`` tokens and,
behind it, the globals that have left the ring:

    after token 13:   ring index   0   1   2   3   4   5   6   7 | globals  8   9
                      token        8   9  10  11  12  13   6   7 |          0   4

Token t goes to ring index t % window. When that evicts a token whose position is a multiple of
``stride``, the evicted one is first copied behind the ring. Valid entries are always a prefix,
so decoding is one unmasked attention over the first ``valid(t)`` entries: rotary positions are
already inside the keys, and softmax has no order.

A window layer keeps the ring alone. A full layer keeps token t at index t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.model.config import LayerType, ModelConfig


@dataclass(frozen=True, slots=True)
class Moves:
    """Copies that a write makes first: entry ``source[i]`` to ``target[i]``."""

    source: Tensor
    target: Tensor

    def to(self, device: str) -> Moves:
        """The same moves on a device."""
        return Moves(self.source.to(device), self.target.to(device))


class SlotLayout:
    """Index arithmetic of one layer type."""

    def __init__(self, config: ModelConfig, layer_type: LayerType) -> None:
        self.window = config.window
        self.stride = config.stride
        self.ring = layer_type != "full"
        self.hybrid = layer_type == "hybrid"
        self.length = config.slot_length(config.layer_types.index(layer_type))

    @property
    def most_visible(self) -> int:
        """Most keys that one query can see."""
        return self.length

    @property
    def longest_chunk(self) -> int:
        """A chunk must not evict its own tokens."""
        return self.window if self.ring else self.length

    def valid(self, seen: int) -> int:
        """Entries in use after ``seen`` tokens."""
        if not self.ring or seen <= self.window:
            return seen
        return self.window + self._globals(seen)

    def _globals(self, seen: int) -> int:
        """Globals that have left the ring: multiples of stride below ``seen - window``."""
        if not self.hybrid:
            return 0
        return -(-max(0, seen - self.window) // self.stride)

    def write_index(self, positions: Tensor) -> Tensor:
        """Entry of each token."""
        return positions % self.window if self.ring else positions

    def evicted(self, positions: Tensor) -> tuple[Tensor, Moves]:
        """Which of ``positions`` evict a global, and the copies that save it first."""
        if not self.hybrid:
            none = positions[:0]
            return none, Moves(none, none)
        old = positions - self.window
        rows = torch.nonzero((old >= 0) & (old % self.stride == 0)).flatten()
        kept = old[rows]
        return rows, Moves(kept % self.window, self.window + kept // self.stride)

    def entry_positions(self, seen: int) -> Tensor:
        """Absolute position of each valid entry after ``seen`` tokens: [valid(seen)]."""
        if not self.ring or seen <= self.window:
            return torch.arange(seen)
        ring = torch.arange(self.window)
        ring = seen - 1 - (seen - 1 - ring) % self.window
        return torch.cat((ring, torch.arange(self._globals(seen)) * self.stride))
