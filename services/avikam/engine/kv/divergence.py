"""What an int8 copy of a float state costs in the tokens that follow it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.engine.kv.block import BlockFormat
from avikam.model.attention.slots import SlotState

Prefill = Callable[[SlotState, Sequence[int], int], Tensor]
"""(slots, tokens, start) -> logits of the last chunk of ``tokens[start:]``, computed in slot 0."""

_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Means over ``places``, where a text goes on from a copy and from the state itself.

    ``perplexity_ratio`` is the copy's over the state's, ``perplexity_error`` one standard error of
    it; ``same_choice`` the share of tokens whose likeliest successor stays the same, ``kl`` the
    Kullback-Leibler divergence of the predictions in nats.
    """

    places: int
    perplexity_ratio: float
    perplexity_error: float
    same_choice: float
    kl: float


@torch.inference_mode()
def measure_divergence(
    cache: SlotState, prefill: Prefill, texts: Sequence[Sequence[int]]
) -> Divergence:
    """Compare at the quarters of each text, over the chunk that follows."""
    rows = [row for text in texts for row in _places(cache, prefill, text)]
    found = torch.tensor(rows, dtype=torch.float64)
    loss, same, kl = found.mean(dim=0).tolist()
    spread = float(found[:, 0].std()) if len(rows) > 1 else math.nan
    return Divergence(
        places=len(rows),
        perplexity_ratio=math.exp(loss),
        perplexity_error=spread / math.sqrt(len(rows)),
        same_choice=same,
        kl=kl,
    )


def _places(
    cache: SlotState, prefill: Prefill, text: Sequence[int]
) -> Iterator[tuple[float, float, float]]:
    """(difference of mean losses, share of same choices, divergence) at each quarter."""
    blocks = BlockFormat(cache, "int8")
    for middle in (len(text) * quarter // 4 for quarter in (1, 2, 3)):
        prefill(cache, text[:middle], 0)
        exact, prefix = cache.snapshot(0, middle), bytes(4 * middle)
        copy = blocks.decode(blocks.encode(exact, _KEY, prefix, _KEY), _KEY, prefix, _KEY)
        rest = text[: middle + cache.longest_chunk]
        predictions = []
        for state in (copy, exact):
            cache.restore(0, state)
            predictions.append(prefill(cache, rest, middle)[:-1].float().log_softmax(dim=-1))
        lossy, true = predictions
        targets = torch.tensor(rest[middle + 1 :])
        yield (
            float(F.nll_loss(lossy, targets) - F.nll_loss(true, targets)),
            float((lossy.argmax(-1) == true.argmax(-1)).float().mean()),
            float(F.kl_div(lossy, true, reduction="batchmean", log_target=True)),
        )
