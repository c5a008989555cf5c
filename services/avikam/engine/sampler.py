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
from torch import Tensor

from avikam.engine.interface import TokenChoice
from avikam.engine.noise import gumbel, row_key
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
    for i, row in enumerate(rows):
        _edit(scores[i], row)
    noisy = [i for i, row in enumerate(rows) if not row.params.greedy]
    if noisy:
        scores[noisy] = _perturbed(scores[noisy], [rows[i] for i in noisy])
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


def _edit(scores: Tensor, row: SamplingRow) -> None:
    """Apply penalties, bias and bans in place."""
    params = row.params
    if params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(row.prompt | row.generated.keys()), dtype=torch.long)
        values = scores[seen]
        factor = params.repetition_penalty
        scores[seen] = torch.where(values > 0, values / factor, values * factor)
    if row.generated and (params.presence_penalty or params.frequency_penalty):
        ids = torch.tensor(list(row.generated), dtype=torch.long)
        counts = torch.tensor(list(row.generated.values()), dtype=scores.dtype)
        scores[ids] -= params.presence_penalty + params.frequency_penalty * counts
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if row.banned:
        scores[list(row.banned)] = -torch.inf
    if row.allowed is not None:
        scores.masked_fill_(~row.allowed, -torch.inf)


def _perturbed(scores: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    """Scaled and filtered scores plus noise: the argmax is a sample."""
    temperature = torch.tensor([row.params.temperature for row in rows], dtype=scores.dtype)
    scores = scores / temperature.unsqueeze(1)
    for i, row in enumerate(rows):
        _filter(scores[i], row.params)
    keys = [row_key(row.seed, row.position) for row in rows]
    return scores + gumbel(keys, scores.shape[-1])


def _filter(scores: Tensor, params: SamplingParams) -> None:
    """Remove in place what top-k, top-p and min-p leave out; the best token always stays."""
    if params.top_k and params.top_k < scores.numel():
        scores[scores < scores.topk(params.top_k).values[-1]] = -torch.inf
    if params.top_p < 1.0:
        ordered, order = scores.sort(descending=True, stable=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        scores[order[before >= params.top_p]] = -torch.inf
    if params.min_p > 0.0:
        probabilities = scores.softmax(dim=-1)
        scores[probabilities < params.min_p * probabilities.max()] = -torch.inf
