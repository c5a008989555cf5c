"""Batched greedy decoding with a dense key/value cache, for measuring models while they train.

The serving engine keeps 284 entries per sequence; here every key stays and the FG mask hides what
the engine would have evicted, so both see the same text. Rows are padded on the right: a padded
key lies after its row's last position and is overwritten before any query may look at it.

    row 0 | b o n j o u r . + + |      . padding, + generated
    row 1 | o u i + + +         |      position of + = prompt length + tokens so far
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.model.masks import visible
from avikam.model.transformer import Attend, Avikam1
from avikam.trainer.attention import DenseCache

Advance = Callable[[int], None]
"""Called with the number of prompts that have just been finished."""

KEEP_SHARE = 0.7
"""Finished rows run along until so few are open; then the cache is copied without them."""


def cached_attention(model: Avikam1, cache: DenseCache, positions: Tensor) -> Attend:
    """Attention of new tokens at ``positions`` [rows, n] over everything cached before them."""
    config, attention = model.config, cache.attention
    length = int(positions.max()) + 1
    every = torch.arange(length, device=positions.device)
    masks = {t: visible(positions, every, config, t).unsqueeze(1) for t in set(config.layer_types)}
    rows = torch.arange(positions.shape[0], device=positions.device).unsqueeze(1)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        storage = cache.layers[layer]
        for tensor, new in zip(storage, attention.entry(k, v), strict=True):
            tensor[rows, :, positions] = new
        known = [tensor[:, :, :length] for tensor in storage]
        mask = masks[config.layer_types[layer]]
        return attention.mix(q.transpose(1, 2), known, mask).transpose(1, 2)

    return attend


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and the most tokens to add to it."""

    prompt: list[int]
    limit: int


def room(request: Request, positions: int) -> int:
    """How many tokens may be added; ``ValueError`` for a prompt longer than the model."""
    left = positions - len(request.prompt)
    if left < 0:
        raise ValueError(
            f"a prompt of {len(request.prompt)} tokens does not fit into {positions} positions; "
            "shorten it first"
        )
    return min(request.limit, left)


@torch.inference_mode()
def greedy(
    model: Avikam1,
    requests: Sequence[Request],
    stop: int,
    batch_size: int = 64,
    advance: Advance | None = None,
    never: Collection[int] = (),
) -> list[list[int]]:
    """The most likely next token until ``stop`` (left out) or the limit, for every request.

    Ids in ``never`` are not chosen: control tokens, as in the serving engine. Requests are sorted
    by length, so that a batch has little padding; answers come back in the order of the requests.
    """
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt), reverse=True)
    answers: list[list[int]] = [[] for _ in requests]
    decoder = _Decoder(model, stop, never)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        found = decoder.decode([requests[i] for i in chosen])
        for i, answer in zip(chosen, found, strict=True):
            answers[i] = answer
        if advance:
            advance(len(chosen))
    return answers


class _Decoder:
    """Greedy decoding of one batch after another."""

    def __init__(self, model: Avikam1, stop: int, never: Collection[int]) -> None:
        self._model = model
        self._stop = stop
        self._device = model.rotary.device
        self._never = torch.tensor(sorted(never), dtype=torch.long, device=self._device)

    def decode(self, requests: list[Request]) -> list[list[int]]:
        """Answers of one batch."""
        limits = [room(request, self._model.config.max_positions) for request in requests]
        lengths = [len(request.prompt) for request in requests]
        longest = max(map(sum, zip(lengths, limits, strict=True)))
        cache = DenseCache(self._model, len(requests), longest)
        token = self._prefill(cache, requests)
        answers: list[list[int]] = [[] for _ in requests]
        unfinished = {row for row, limit in enumerate(limits) if limit}
        rows = list(range(len(requests)))
        while unfinished:
            for row, new in zip(rows, token.tolist(), strict=True):
                if row in unfinished and new != self._stop:
                    answers[row].append(new)
                if new == self._stop or len(answers[row]) >= limits[row]:
                    unfinished.discard(row)
            if len(unfinished) <= len(rows) * KEEP_SHARE:
                kept = [place for place, row in enumerate(rows) if row in unfinished]
                rows, token = [rows[place] for place in kept], token[kept]
                cache.keep(kept)
            if unfinished:
                at = [lengths[row] + max(0, len(answers[row]) - 1) for row in rows]
                token = self._step(cache, token, at)
        return answers

    def _prefill(self, cache: DenseCache, requests: list[Request]) -> Tensor:
        """Run all prompts at once; the first new token [rows]."""
        lengths = torch.tensor([len(r.prompt) for r in requests], device=self._device)
        width = int(lengths.max())
        tokens = torch.zeros(len(requests), width, dtype=torch.long)
        for row, request in enumerate(requests):
            tokens[row, : len(request.prompt)] = torch.tensor(request.prompt)
        positions = torch.arange(width, device=self._device).expand(len(requests), width)
        attend = cached_attention(self._model, cache, positions)
        hidden = self._model(tokens.to(self._device), positions, attend)
        return self._choose(hidden[torch.arange(len(requests), device=self._device), lengths - 1])

    def _step(self, cache: DenseCache, token: Tensor, at: list[int]) -> Tensor:
        positions = torch.tensor(at, device=self._device).unsqueeze(1)
        attend = cached_attention(self._model, cache, positions)
        return self._choose(self._model(token.unsqueeze(1), positions, attend)[:, 0])

    def _choose(self, hidden: Tensor) -> Tensor:
        logits = self._model.logits(hidden)
        return logits.index_fill(-1, self._never, -torch.inf).argmax(-1)
