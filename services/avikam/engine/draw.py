"""The random part of sampling, in tensors alone: the same on a CPU and on a GPU.

    scores -> / temperature -> top-k -> top-p -> min-p -> + noise

Every filter is a floor under the scores, so that equal scores stay or go together and no result
depends on a device's way to sort. Rows never see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avikam.engine.noise import gumbel, row_key, signed
from avikam.protocol.sampling import SamplingParams

_HEAD = 512  # most filters end within so many of the best scores
_OFF = 2.0  # a top_p that keeps everything, however its sums are rounded


@dataclass(frozen=True, slots=True)
class Draw:
    """One row's draw as numbers; ``key`` names the sampling event."""

    key: int
    top_k: int
    temperature: float
    top_p: float
    min_p: float

    @classmethod
    def of(cls, params: SamplingParams, seed: int, position: int, vocab_size: int) -> Draw:
        """The draw of the token at ``position``; a greedy row gets harmless numbers."""
        return cls(
            key=signed(row_key(seed, position)),
            top_k=min(params.top_k or vocab_size, vocab_size),
            temperature=params.temperature or 1.0,
            top_p=params.top_p if params.top_p < 1.0 else _OFF,
            min_p=params.min_p,
        )


@dataclass(frozen=True, slots=True)
class DrawRows:
    """The draws of many rows, each field [rows]; ``filtered``: whether one has a filter."""

    key: Tensor
    top_k: Tensor
    temperature: Tensor
    top_p: Tensor
    min_p: Tensor
    filtered: bool

    @classmethod
    def of(cls, draws: Sequence[Draw], vocab_size: int) -> DrawRows:
        """One row for each draw; tensors of shape (rows,) or (rows, entries)."""
        return cls(
            torch.tensor([draw.key for draw in draws]),
            torch.tensor([draw.top_k for draw in draws]),
            torch.tensor([draw.temperature for draw in draws]),
            torch.tensor([draw.top_p for draw in draws]),
            torch.tensor([draw.min_p for draw in draws]),
            any(filters(draw, vocab_size) for draw in draws),
        )

    def of_rows(self, rows: Tensor) -> DrawRows:
        """The draws of some rows, by index."""
        return DrawRows(
            self.key[rows], self.top_k[rows], self.temperature[rows], self.top_p[rows],
            self.min_p[rows], self.filtered,
        )  # fmt: skip


def filters(draw: Draw, vocab_size: int) -> bool:
    """Whether a draw leaves tokens out."""
    return draw.top_k < vocab_size or draw.top_p < 1.0 or draw.min_p > 0.0


def perturbed(scores: Tensor, rows: DrawRows) -> Tensor:
    """Scores [rows, vocab] scaled, filtered and with noise: the argmax is a sample."""
    scores = scores / rows.temperature.unsqueeze(1)
    if rows.filtered:
        scores.masked_fill_(scores < _floor(scores, rows), -torch.inf)
    return scores.add_(gumbel(rows.key, scores.shape[-1]))


def _floor(scores: Tensor, rows: DrawRows) -> Tensor:
    """The lowest score that stays [rows, 1]; the best always does."""
    if not scores.is_cpu or scores.shape[1] <= _HEAD:
        return _lowest(scores.sort(dim=-1, descending=True).values, rows, scores.shape[1])
    head = _best(scores.numpy(), _HEAD)
    total = scores.logsumexp(dim=-1, keepdim=True)
    floor = _lowest(head, rows, scores.shape[1], total)
    short = _beyond(head, total, rows, scores.shape[1])
    if len(short):
        ordered = _best(scores[short].numpy(), scores.shape[1])
        floor[short] = _lowest(ordered, rows.of_rows(short), scores.shape[1])
    return floor


def _best(scores: NDArray[np.float32], count: int) -> Tensor:
    """The ``count`` highest scores, best first: where all are sorted, most of the time goes into
    those that no filter looks at."""
    negative = -scores
    if count < scores.shape[1]:
        negative = np.partition(negative, count, axis=-1)[:, :count]
    return torch.from_numpy(-np.sort(negative, axis=-1))


def _beyond(head: Tensor, total: Tensor, rows: DrawRows, vocab_size: int) -> Tensor:
    """The rows whose filters end behind ``head``."""
    mass = (head - total).exp_().sum(dim=-1)
    by_mass = (rows.top_k == vocab_size) & ((mass >= rows.top_p) | (rows.top_p >= 1.0))
    return (~((rows.top_k <= head.shape[1]) | by_mass)).nonzero().flatten()


def _lowest(
    ordered: Tensor, rows: DrawRows, vocab_size: int, total: Tensor | None = None
) -> Tensor:
    """The floor from the best scores; ``total``: log-sum-exp of all, where these are not all."""
    last_rank = rows.top_k.clamp(max=ordered.shape[1]).unsqueeze(1) - 1
    cut = (rows.top_k < vocab_size).unsqueeze(1)
    kth = torch.where(cut, ordered.gather(1, last_rank), -torch.inf)
    likely = ordered[:, :1] + rows.min_p.log().unsqueeze(1)
    within = ordered.masked_fill_(ordered < kth, -torch.inf)
    own = within.logsumexp(dim=-1, keepdim=True)
    shares = (within - (own if total is None else torch.where(cut, own, total))).exp_()
    before = shares.cumsum(dim=-1).sub_(shares)
    top_p = rows.top_p.unsqueeze(1)
    kept = (before < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
    last = torch.where(top_p < 1.0, within.gather(1, kept - 1), -torch.inf)
    return torch.maximum(torch.maximum(kth, last), likely)
