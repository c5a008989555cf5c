"""Packing documents into rows of fixed length, so that every step has one static shape.

    row       | doc 0 ........ | doc 1 ... | doc 2 ...... | pad |
    positions | 0 1 2 ...      | 0 1 2 ... | 0 1 2 ...    | 0   |
    documents | 0 0 0 ...      | 1 1 1 ... | 2 2 2 ...    | -1  |

The examples of a batch go, longest first, into the fullest row that has room for the whole of them
(best fit decreasing, Johnson 1973): an answer stands at its example's end, and a cut at the end of
a row would take just what the loss counts. What is left over when every row is nearly full is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avikam.trainer.examples import Example

PADDING = -1
_LEAST = 8
"""A beginning of fewer tokens teaches nothing."""


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
        """The batch on a device; the copy may still be under way."""
        return Batch(*(t.to(device, non_blocking=True) for t in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.tokens, self.targets, self.positions, self.documents


def pack(examples: Iterator[Example], rows: int, length: int) -> Batch:
    """Fill ``rows`` x ``length`` tokens with the next of ``examples``; keep none for later."""
    packed = _Rows(rows, length + 1)  # inputs and targets overlap by one
    drawn = sorted(_draw(examples, rows * (length + 1), length + 1), key=_size, reverse=True)
    left = [example for example in drawn if not packed.add(example)]
    for example in left:
        packed.add_cut(example)
    return packed.batch()


def _size(example: Example) -> int:
    return len(example.tokens)


def _draw(examples: Iterator[Example], tokens: int, longest: int) -> Iterator[Example]:
    """The next examples until they have ``tokens`` tokens; each counts for at most ``longest``."""
    drawn = 0
    while drawn < tokens:
        example = next(examples)
        drawn += min(_size(example), longest)
        yield example


class _Rows:
    """Rows that fill up from the left."""

    def __init__(self, rows: int, width: int) -> None:
        self._tokens = np.zeros((rows, width), dtype=np.int64)
        self._counts = np.zeros((rows, width), dtype=bool)
        self._positions = np.zeros((rows, width), dtype=np.int64)
        self._documents = np.full((rows, width), PADDING, dtype=np.int64)
        self._room = np.full(rows, width, dtype=np.int64)
        self._held = np.zeros(rows, dtype=np.int64)

    def add(self, example: Example) -> bool:
        """Place an example whole (an overlong one in an empty row); False when it fits nowhere."""
        width = self._tokens.shape[1]
        size = min(_size(example), width)
        row = int(np.argmin(np.where(self._room >= size, self._room, width + 1)))
        if self._room[row] < size:
            return False
        self._put(row, example, size)
        return True

    def add_cut(self, example: Example) -> None:
        """Place the beginning of an example in the emptiest row, unless that is too little."""
        row = int(np.argmax(self._room))
        if self._room[row] >= _LEAST:
            self._put(row, example, int(self._room[row]))

    def batch(self) -> Batch:
        """Inputs and, one token ahead of them, targets."""
        targets = np.where(self._counts[:, 1:], self._tokens[:, 1:], -100)
        targets[self._documents[:, 1:] != self._documents[:, :-1]] = -100
        return Batch(
            torch.from_numpy(self._tokens[:, :-1].copy()),
            torch.from_numpy(targets),
            torch.from_numpy(self._positions[:, :-1].copy()),
            torch.from_numpy(self._documents[:, :-1].copy()),
        )

    def _put(self, row: int, example: Example, size: int) -> None:
        start = self._tokens.shape[1] - int(self._room[row])
        place = slice(start, start + size)
        self._tokens[row, place] = example.tokens[:size]
        self._counts[row, place] = example.counts[:size]
        self._positions[row, place] = np.arange(size)
        self._documents[row, place] = self._held[row]
        self._room[row] -= size
        self._held[row] += 1
