"""One step on the device: a batch in, the logits that somebody needs out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.engine.sampler import choice
from avikam.engine.scheduler import Batch
from avikam.engine.sequence import Sequence
from avikam.model.attention.slots import SlotCache
from avikam.model.lora import AppliedAdapter, adapt_rows
from avikam.model.transformer import Adapt, Avikam1


@dataclass(frozen=True, slots=True)
class StepResult:
    """``logits`` [len(ready), vocab]: the next-token logits of sequences fully computed."""

    ready: tuple[Sequence, ...]
    logits: Tensor


class ModelRunner:
    """The model and its slots."""

    def __init__(self, model: Avikam1, cache: SlotCache) -> None:
        self.model = model
        self.cache = cache

    @torch.inference_mode()
    def run(self, batch: Batch) -> StepResult:
        """Compute the batch's tokens and advance its sequences."""
        plan = batch.plan()
        self.cache.begin(plan)
        device = self.cache.device
        tokens = torch.tensor(batch.input_tokens(), dtype=torch.long).to(device)
        adapt = _adapt(batch, device)
        hidden = self.model(tokens, plan.positions().to(device), self.cache.attend, adapt)
        ready, rows = list(batch.decoding), list(range(len(batch.decoding)))
        row = len(rows)
        for sequence, length in batch.chunks:
            self._prompt_logprobs(sequence, hidden[row : row + length])
            row += length
            if length == sequence.pending:
                ready.append(sequence)
                rows.append(row - 1)
        for sequence in batch.decoding:
            sequence.computed += 1
        for sequence, length in batch.chunks:
            sequence.computed += length
        return StepResult(tuple(ready), self.model.logits(hidden[rows]).cpu())

    def _prompt_logprobs(self, sequence: Sequence, hidden: Tensor) -> None:
        """Logprobs of prompt tokens that this chunk predicts: row i speaks of token i + 1."""
        top = sequence.spec.sampling.prompt_logprobs
        if top is None:
            return
        first = sequence.computed + 1
        targets = sequence.spec.prompt[first : first + len(hidden)]
        logits = self.model.logits(hidden[: len(targets)]).cpu()
        sequence.prompt_choices += [
            choice(row, token, top) for row, token in zip(logits, targets, strict=True)
        ]


def _adapt(batch: Batch, device: str) -> Adapt | None:
    """The batch's adapters with the rows of their sequences; none when no row has one."""
    rows: dict[str, list[int]] = {}
    applied: dict[str, AppliedAdapter] = {}
    row = 0
    sized = [(sequence, 1) for sequence in batch.decoding]
    for sequence, length in (*sized, *batch.chunks):
        if sequence.adapter is not None:
            adapter = sequence.adapter.applied
            applied[adapter.digest] = adapter
            rows.setdefault(adapter.digest, []).extend(range(row, row + length))
        row += length
    if not rows:
        return None
    return adapt_rows(
        [(applied[digest], torch.tensor(which).to(device)) for digest, which in rows.items()]
    )
