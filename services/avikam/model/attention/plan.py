"""What one step computes: rows of running sequences first, then chunks of waiting prompts.

rows   | decode 0 | decode 1 | ... | chunk of sequence a ...... | chunk of sequence b .. |
slots    7          2                4                            9
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Chunk:
    """``length`` prompt tokens of one sequence, starting at absolute ``position``."""

    slot: int
    position: int
    length: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Decode rows (one token each, ordered by slot) and the chunks that follow them."""

    decode_slots: tuple[int, ...]
    decode_positions: tuple[int, ...]
    chunks: tuple[Chunk, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens that the step computes."""
        return len(self.decode_slots) + sum(chunk.length for chunk in self.chunks)

    def positions(self) -> Tensor:
        """Absolute position of every row [tokens]."""
        parts = [torch.tensor(self.decode_positions, dtype=torch.long)]
        parts += [torch.arange(c.position, c.position + c.length) for c in self.chunks]
        return torch.cat(parts)
