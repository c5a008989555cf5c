"""From logits to tokens: a pure function of (logits, parameters, history, seed, position).

Order of operations per row:

    raw logits -> logprobs
       |-> penalties -> bias -> bans -> / temperature -> top-k -> top-p -> min-p -> + noise
                                                                                 -> argmax

Rows never see each other: a row gives the same token alone and in any batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avikam.engine.draw import Draw, DrawRows, perturbed
from avikam.engine.interface import TokenChoice
from avikam.protocol.sampling import SamplingParams


@dataclass(slots=True)
class SamplingRow:
    """What one row's choice depends on, besides its logits.

    ``position`` is the absolute position of the token to be chosen; ``banned`` are ids that may
    not come now (end tokens before min_tokens); ``allowed`` is a grammar's mask, if any.
    """

    params: SamplingParams
    seed: int
    position: int
    prompt: frozenset[int]
    generated: Counter[int]
    banned: tuple[int, ...] = ()
    allowed: Tensor | None = None


def sample(logits: Tensor, rows: Sequence[SamplingRow], never: Tensor) -> list[TokenChoice | None]:
    """One choice per row of ``logits`` [rows, vocab]; none where no finite logit is left.

    ``never`` holds ids that no generation may contain (roles and language tags).
    """
    healthy = ~np.isnan(logits.numpy().max(axis=-1))  # a NaN is numpy's largest value
    scores = logits.clone()
    scores[:, never] = -torch.inf
    for values, row in zip(scores.numpy(), rows, strict=True):
        _edit(values, row)
    noisy = [i for i, row in enumerate(rows) if not row.params.greedy]
    if noisy:
        scores[noisy] = perturbed(scores[noisy], _draws([rows[i] for i in noisy], scores.shape[1]))
    tokens = scores.numpy().argmax(axis=-1)  # 20 to 40 times quicker than torch's, on a CPU
    possible = scores.numpy()[np.arange(len(rows)), tokens] > -np.inf
    return [
        choice(logits[i], token, rows[i].params.logprobs) if healthy[i] and possible[i] else None
        for i, token in enumerate(tokens.tolist())
    ]


def choice(logits: Tensor, token: int, top: int | None) -> TokenChoice:
    """The token with its raw logprob (before penalties and temperature) where asked for."""
    if top is None:
        return TokenChoice(token, 0.0, 0)
    logprobs = logits.float().log_softmax(dim=-1)
    mine = logprobs[token]
    values, ids = logprobs.topk(top) if top else (logprobs[:0], logprobs[:0])
    pairs = tuple(zip(map(int, ids.tolist()), values.tolist(), strict=True))
    return TokenChoice(token, float(mine), int((logprobs > mine).sum()) + 1, pairs)


def _edit(scores: NDArray[np.float32], row: SamplingRow) -> None:
    """Apply penalties, bias and bans to one row, in place."""
    params = row.params
    if params.repetition_penalty != 1.0:
        seen = list(row.prompt | row.generated.keys())
        factor = np.float32(params.repetition_penalty)
        values = scores[seen]
        scores[seen] = np.where(values > 0, values / factor, values * factor)
    if row.generated and (params.presence_penalty or params.frequency_penalty):
        counts = np.fromiter(row.generated.values(), np.float32, len(row.generated))
        counts *= params.frequency_penalty
        counts += params.presence_penalty
        scores[list(row.generated)] -= counts
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if row.banned:
        scores[list(row.banned)] = -np.inf
    if row.allowed is not None:
        scores[~row.allowed.numpy()] = -np.inf


def _draws(rows: Sequence[SamplingRow], vocab_size: int) -> DrawRows:
    draws = [Draw.of(row.params, row.seed, row.position, vocab_size) for row in rows]
    return DrawRows.of(draws, vocab_size)
