"""One step on the device: a batch in, the logits that somebody needs out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avikam.engine.parallel.team import RankTeam
from avikam.engine.sampler import choice
from avikam.engine.scheduler import Batch
from avikam.engine.sequence import Sequence
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import SlotStore
from avikam.model.lora import AppliedAdapter, adapt_rows
from avikam.model.steps import StepModel


@dataclass(frozen=True, slots=True)
class StepResult:
    """``logits`` [len(ready), vocab]: the next-token logits of sequences fully computed."""

    ready: tuple[Sequence, ...]
    logits: Tensor


class ModelRunner:
    """The model and its slots."""

    def __init__(self, model: StepModel, cache: SlotState, team: RankTeam | None = None) -> None:
        self.model = model
        self.cache = cache
        self.store: SlotStore = cache if team is None else team.slots
        self._team = team

    @property
    def alive(self) -> bool:
        """Whether everything that a step needs is still there."""
        return self._team is None or self._team.whole

    def close(self) -> None:
        if self._team is not None:
            self._team.close()

    def warm_up(self) -> None:
        """One empty-handed step: the first request must not pay for lazy initialisation."""
        with torch.inference_mode():
            self.model.logits(self.compute(StepPlan((0,), (0,)), [0], []))

    @torch.inference_mode()
    def compute(
        self, plan: StepPlan, tokens: list[int], adapted: list[tuple[AppliedAdapter, list[int]]]
    ) -> Tensor:
        """Hidden states [rows, hidden] of a step, on all ranks."""
        if self._team is not None:
            self._team.step(plan, tokens, adapted)
        return compute(self.model, self.cache, plan, tokens, adapted)

    @torch.inference_mode()
    def run(self, batch: Batch) -> StepResult:
        """Compute the batch's tokens and advance its sequences."""
        hidden = self.compute(batch.plan(), batch.input_tokens(), _adapted(batch))
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


def compute(
    model: StepModel,
    cache: SlotState,
    plan: StepPlan,
    tokens: list[int],
    adapted: list[tuple[AppliedAdapter, list[int]]],
) -> Tensor:
    """One rank's work of a step: hidden states of ``tokens``, adapters on their own rows."""
    cache.begin(plan)
    device = cache.device
    inputs = torch.tensor(tokens, dtype=torch.long).to(device)
    groups = [(adapter, torch.tensor(rows).to(device)) for adapter, rows in adapted]
    adapt = adapt_rows(groups) if groups else None
    return model(inputs, plan.positions().to(device), cache.attend, adapt)


def _adapted(batch: Batch) -> list[tuple[AppliedAdapter, list[int]]]:
    """The batch's adapters with the rows of their sequences."""
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
    return [(applied[digest], which) for digest, which in rows.items()]
