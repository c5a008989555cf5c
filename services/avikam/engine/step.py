"""What one step computes, taken from its sequences before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from avikam.engine.scheduler import Batch
from avikam.engine.sequence import Sequence
from avikam.model.attention.plan import StepPlan
from avikam.model.lora import AppliedAdapter

Adapted = list[tuple[AppliedAdapter, list[int]]]
"""Adapters with the rows of their sequences."""


@dataclass(frozen=True, slots=True)
class PromptPart:
    """Prompt tokens whose logprobs are wanted: ``row`` speaks of the prompt's token ``first``."""

    sequence: Sequence
    first: int
    row: int
    length: int


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of a batch. ``ready`` are the sequences that get a token, from their ``rows``."""

    plan: StepPlan
    tokens: list[int]
    adapted: Adapted
    ready: tuple[Sequence, ...]
    rows: list[int]
    prompts: tuple[PromptPart, ...]

    @classmethod
    def take(cls, batch: Batch) -> Step:
        """Freeze what ``batch`` computes, and count it as computed."""
        plan, tokens, prompts = batch.plan(), batch.input_tokens(), tuple(_prompts(batch))
        ready, rows = list(batch.decoding), list(range(len(batch.decoding)))
        row = len(rows)
        for sequence, length in batch.chunks:
            row += length
            if length == sequence.pending:
                ready.append(sequence)
                rows.append(row - 1)
        for sequence, length in batch.parts():
            sequence.computed += length
        return cls(plan, tokens, adapted_rows(batch), tuple(ready), rows, prompts)


def _prompts(batch: Batch) -> Iterator[PromptPart]:
    row = 0
    for sequence, length in batch.parts():
        if sequence.spec.sampling.prompt_logprobs is not None:
            left = len(sequence.spec.prompt) - sequence.computed - 1
            if left > 0:
                yield PromptPart(sequence, sequence.computed + 1, row, min(length, left))
        row += length


def adapted_rows(batch: Batch) -> Adapted:
    """The batch's adapters with the rows of their sequences."""
    rows: dict[str, list[int]] = {}
    applied: dict[str, AppliedAdapter] = {}
    row = 0
    for sequence, length in batch.parts():
        if sequence.adapter is not None:
            adapter = sequence.adapter.applied
            applied[adapter.digest] = adapter
            rows.setdefault(adapter.digest, []).extend(range(row, row + length))
        row += length
    return [(applied[digest], which) for digest, which in rows.items()]
