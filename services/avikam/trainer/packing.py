"""Packing documents into rows of fixed length, so that every step has one static shape.

    row       | doc 0 ........ | doc 1 ... | doc 2 ...... | pad |
    positions | 0 1 2 ...      | 0 1 2 ... | 0 1 2 ...    | 0   |
    documents | 0 0 0 ...      | 1 1 1 ... | 2 2 2 ...    | -1  |

A document longer than a row continues in the next one as a document of its own.
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
        return int((self.targets != -100).sum())


def pack(examples: Iterator[Example], rows: int, length: int) -> Batch:
    """Fill ``rows`` x ``length`` tokens from ``examples``, first row with room first."""
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
