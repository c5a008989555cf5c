"""Log-likelihoods of given continuations: perplexity and multiple choice are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.transformer import Adapt, Avikam1
from avikam.trainer.attention import row_attention
from avikam.trainer.decoding import Advance
from avikam.trainer.examples import Example
from avikam.trainer.packing import PADDING, Batch


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Natural logarithm of the counted tokens' probability, and how many they are."""

    log_probability: float
    tokens: int


@torch.inference_mode()
def log_likelihoods(
    model: Avikam1,
    examples: Sequence[Example],
    batch_tokens: int = 8192,
    advance: Advance | None = None,
    adapt: Adapt | None = None,
) -> list[Likelihood]:
    """What the model thinks of each example's counted tokens, in the order given.

    Examples of similar length share a batch of at most ``batch_tokens`` padded tokens.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].tokens), reverse=True)
    found: list[Likelihood] = [Likelihood(0.0, 0)] * len(examples)
    start = 0
    while start < len(order):
        width = max(2, len(examples[order[start]].tokens))
        chosen = order[start : start + max(1, batch_tokens // width)]
        rows = _score(model, [examples[i] for i in chosen], adapt)
        for i, likelihood in zip(chosen, rows, strict=True):
            found[i] = likelihood
        start += len(chosen)
        if advance:
            advance(len(chosen))
    return found


def _score(model: Avikam1, examples: list[Example], adapt: Adapt | None) -> list[Likelihood]:
    batch = one_per_row(examples, model.rotary.device)
    counted = batch.targets != -100
    hidden = model(batch.tokens, batch.positions, row_attention(model, batch), adapt)
    logits = model.logits(hidden[counted])
    losses = torch.zeros(batch.targets.shape, device=logits.device)
    losses[counted] = F.cross_entropy(logits, batch.targets[counted], reduction="none")
    sums, sizes = losses.double().sum(1).tolist(), counted.sum(1).tolist()
    return [Likelihood(-loss, size) for loss, size in zip(sums, sizes, strict=True)]


def one_per_row(examples: list[Example], device: torch.device) -> Batch:
    """Each example in a row of its own, padded on the right."""
    width = max(2, *(len(example.tokens) for example in examples)) - 1
    tokens = torch.zeros(len(examples), width, dtype=torch.long)
    targets = torch.full((len(examples), width), -100)
    documents = torch.full((len(examples), width), PADDING)
    for row, example in enumerate(examples):
        size = len(example.tokens) - 1
        ids: Tensor = torch.tensor(example.tokens)
        counts = torch.tensor(example.counts)
        tokens[row, :size] = ids[:-1]
        targets[row, :size] = torch.where(counts[1:], ids[1:], -100)
        documents[row, :size] = 0
    positions = torch.arange(width).repeat(len(examples), 1)
    moved = (t.to(device) for t in (tokens, targets, positions, documents))
    return Batch(*moved)
