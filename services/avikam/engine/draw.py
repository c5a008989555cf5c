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
from torch import Tensor

from avikam.engine.noise import gumbel, row_key, signed
from avikam.protocol.sampling import SamplingParams

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
        return cls(
            torch.tensor([draw.key for draw in draws]),
            torch.tensor([draw.top_k for draw in draws]),
            torch.tensor([draw.temperature for draw in draws]),
            torch.tensor([draw.top_p for draw in draws]),
            torch.tensor([draw.min_p for draw in draws]),
            any(filters(draw, vocab_size) for draw in draws),
        )


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
    ordered = _descending(scores)
    kth = ordered.gather(1, rows.top_k.unsqueeze(1) - 1)
    likely = ordered[:, :1] + rows.min_p.log().unsqueeze(1)
    within = ordered.masked_fill_(ordered < kth, -torch.inf)
    shares = within.softmax(dim=-1)
    before = shares.cumsum(dim=-1).sub_(shares)
    kept = (before < rows.top_p.unsqueeze(1)).sum(dim=-1, keepdim=True)
    last = within.gather(1, kept.clamp(min=1) - 1)
    return torch.maximum(torch.maximum(kth, last), likely)


def _descending(scores: Tensor) -> Tensor:
    """A sorted copy; on a CPU numpy sorts a vocabulary four times as fast as PyTorch."""
    if scores.is_cpu:
        return torch.from_numpy(-np.sort(-scores.numpy(), axis=-1))
    return scores.sort(dim=-1, descending=True).values
