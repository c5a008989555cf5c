"""Batched greedy decoding with a dense key/value cache, for measuring models while they train.

The serving engine keeps 284 entries per sequence; here every key stays and the FG mask hides what
the engine would have evicted, so both see the same text. Rows are padded on the right: a padded
key lies after its row's last position and is overwritten before any query may look at it.

    row 0 | b o n j o u r . + + |      . padding, + generated
    row 1 | o u i + + +         |      position of + = prompt length + tokens so far
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.masks import visible
from avikam.model.transformer import Attend, Avikam1

Advance = Callable[[int], None]
"""Called with the number of prompts that have just been finished."""

KEEP_SHARE = 0.7
"""Finished rows run along until so few are open; then the cache is copied without them."""


@dataclass(slots=True)
class DenseCache:
    """Keys and values of every position: per layer [rows, kv heads, length, head_dim]."""

    keys: list[Tensor]
    values: list[Tensor]

    @classmethod
    def empty(cls, model: Avikam1, rows: int, length: int, dtype: torch.dtype) -> DenseCache:
        c = model.config
        shape = (rows, c.num_kv_heads, length, c.head_dim)
        device = model.rotary.device

        def layers() -> list[Tensor]:
            return [torch.zeros(shape, dtype=dtype, device=device) for _ in range(c.num_layers)]

        return cls(layers(), layers())

    def keep(self, rows: list[int]) -> DenseCache:
        """A cache of some of the rows only."""
        return DenseCache([k[rows] for k in self.keys], [v[rows] for v in self.values])


def cached_attention(model: Avikam1, cache: DenseCache, positions: Tensor) -> Attend:
    """Attention of new tokens at ``positions`` [rows, n] over everything cached before them."""
    config = model.config
    length = int(positions.max()) + 1
    every = torch.arange(length, device=positions.device)
    masks = {t: visible(positions, every, config, t).unsqueeze(1) for t in set(config.layer_types)}
    rows = torch.arange(positions.shape[0], device=positions.device).unsqueeze(1)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = cache.keys[layer], cache.values[layer]
        keys[rows, :, positions] = k.to(keys.dtype)
        values[rows, :, positions] = v.to(values.dtype)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2).to(keys.dtype),
            keys[:, :, :length],
            values[:, :, :length],
            attn_mask=masks[config.layer_types[layer]],
            enable_gqa=config.num_kv_heads != config.num_heads,
        )
        return out.transpose(1, 2).to(q.dtype)

    return attend


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and the most tokens to add to it."""

    prompt: list[int]
    limit: int


@torch.inference_mode()
def greedy(
    model: Avikam1,
    requests: Sequence[Request],
    stop: int,
    batch_size: int = 64,
    advance: Advance | None = None,
) -> list[list[int]]:
    """The most likely next token until ``stop`` (left out) or the limit, for every request.

    Requests are sorted by length, so that a batch has little padding; answers come back in the
    order of the requests.
    """
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt), reverse=True)
    answers: list[list[int]] = [[] for _ in requests]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        for i, answer in zip(
            chosen, _decode(model, [requests[i] for i in chosen], stop), strict=True
        ):
            answers[i] = answer
        if advance:
            advance(len(chosen))
    return answers


def _decode(model: Avikam1, requests: list[Request], stop: int) -> list[list[int]]:
    limits = [_room(model, request) for request in requests]
    lengths = [len(request.prompt) for request in requests]
    longest = max(map(sum, zip(lengths, limits, strict=True)))
    cache = DenseCache.empty(model, len(requests), longest, model.norm.weight.dtype)
    token = _prefill(model, cache, requests)
    answers: list[list[int]] = [[] for _ in requests]
    open_rows = {row for row, limit in enumerate(limits) if limit}
    rows = list(range(len(requests)))
    while open_rows:
        for row, new in zip(rows, token.tolist(), strict=True):
            if row in open_rows and new != stop:
                answers[row].append(new)
            if new == stop or len(answers[row]) >= limits[row]:
                open_rows.discard(row)
        if len(open_rows) <= len(rows) * KEEP_SHARE:
            kept = [place for place, row in enumerate(rows) if row in open_rows]
            rows, token, cache = [rows[place] for place in kept], token[kept], cache.keep(kept)
        if open_rows:
            at = [lengths[row] + max(0, len(answers[row]) - 1) for row in rows]
            token = _step(model, cache, token, torch.tensor(at, device=token.device))
    return answers


def _room(model: Avikam1, request: Request) -> int:
    room = model.config.max_positions - len(request.prompt)
    if room < 0:
        raise ValueError(
            f"a prompt of {len(request.prompt)} tokens does not fit into "
            f"{model.config.max_positions} positions; shorten it first"
        )
    return min(request.limit, room)


def _prefill(model: Avikam1, cache: DenseCache, requests: list[Request]) -> Tensor:
    """Run all prompts at once; the first new token [rows]."""
    device = model.rotary.device
    lengths = torch.tensor([len(request.prompt) for request in requests], device=device)
    width = int(lengths.max())
    tokens = torch.zeros(len(requests), width, dtype=torch.long)
    for row, request in enumerate(requests):
        tokens[row, : len(request.prompt)] = torch.tensor(request.prompt)
    positions = torch.arange(width, device=device).expand(len(requests), width)
    hidden = model(tokens.to(device), positions, cached_attention(model, cache, positions))
    last = hidden[torch.arange(len(requests), device=device), lengths - 1]
    return model.logits(last).argmax(-1)


def _step(model: Avikam1, cache: DenseCache, token: Tensor, at: Tensor) -> Tensor:
    positions = at.unsqueeze(1)
    hidden = model(token.unsqueeze(1), positions, cached_attention(model, cache, positions))
    return model.logits(hidden[:, 0]).argmax(-1)
