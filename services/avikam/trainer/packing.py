"""Packing documents into rows of fixed length, so that every step has one static shape.

    row       | doc 0 ........ | doc 1 ... | doc 2 ...... | pad |
    positions | 0 1 2 ...      | 0 1 2 ... | 0 1 2 ...    | 0   |
    documents | 0 0 0 ...      | 1 1 1 ... | 2 2 2 ...    | -1  |

What does not fit into the rest of a row is cut off: rows stay independent of one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avikam.trainer.examples import Example

PADDING = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows [rows, length]; ``targets`` is -100 where the loss does not count."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor

    @property
    def counted(self) -> int:
        """Targets the loss counts."""
        return int((self.targets != -100).sum())

    def rows(self, start: int, step: int) -> Batch:
        """Every ``step``-th row from ``start`` on."""
        return Batch(*(t[start::step] for t in self._tensors()))

    def split(self, rows: int) -> list[Batch]:
        """Pieces of at most ``rows`` rows."""
        pieces = zip(*(t.split(rows) for t in self._tensors()), strict=True)
        return [Batch(*tensors) for tensors in pieces]

    def to(self, device: torch.device) -> Batch:
        return Batch(*(t.to(device, non_blocking=True) for t in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.tokens, self.targets, self.positions, self.documents


def pack(examples: Iterator[Example], rows: int, length: int) -> Batch:
    """Fill ``rows`` x ``length`` tokens from ``examples``, row after row."""
    width = length + 1  # inputs and targets overlap by one
    tokens = np.zeros((rows, width), dtype=np.int64)
    counts = np.zeros((rows, width), dtype=bool)
    positions = np.zeros((rows, width), dtype=np.int64)
    documents = np.full((rows, width), PADDING, dtype=np.int64)
    for row in range(rows):
        start = number = 0
        while start < width - 8:
            example = next(examples)
            end = min(width, start + len(example.tokens))
            size = end - start
            tokens[row, start:end] = example.tokens[:size]
            counts[row, start:end] = example.counts[:size]
            positions[row, start:end] = np.arange(size)
            documents[row, start:end] = number
            start, number = end, number + 1
    targets = np.where(counts[:, 1:], tokens[:, 1:], -100)
    crossing = documents[:, 1:] != documents[:, :-1]
    targets[crossing] = -100
    return Batch(
        torch.from_numpy(tokens[:, :-1].copy()),
        torch.from_numpy(targets),
        torch.from_numpy(positions[:, :-1].copy()),
        torch.from_numpy(documents[:, :-1].copy()),
    )
