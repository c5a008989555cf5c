"""One step on the device: a batch in, the logits that somebody needs out."""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.engine.flight import Flight, host_flight
from avikam.engine.parallel.team import RankTeam
from avikam.engine.sampler import choice
from avikam.engine.scheduler import Batch
from avikam.engine.step import Adapted, Step
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.slots import SlotState
from avikam.model.attention.snapshot import SlotStore
from avikam.model.attention.transfer import sent
from avikam.model.lora import adapt_rows
from avikam.model.steps import StepModel


class ModelRunner:
    """The model and its slots. ``never`` are token ids that no generation may contain."""

    def __init__(
        self, model: StepModel, cache: SlotState, never: Tensor, team: RankTeam | None = None
    ) -> None:
        self.model = model
        self.cache = cache
        self.store: SlotStore = cache if team is None else team.slots
        self.never = never
        self._team = team

    @property
    def alive(self) -> bool:
        """Whether everything that a step needs is still there."""
        return self._team is None or self._team.whole

    def close(self) -> None:
        """End the other ranks, if there are any."""
        if self._team is not None:
            self._team.close()

    @torch.inference_mode()
    def warm_up(self) -> None:
        """One empty-handed step: the first request must not pay for lazy initialisation."""
        self.model.logits(self._compute(StepPlan((0,), (0,)), [0], []))

    @torch.inference_mode()
    def launch(self, batch: Batch) -> Flight:
        """Compute the batch's tokens and advance its sequences."""
        step = Step.take(batch)
        hidden = self._compute(step.plan, step.tokens, step.adapted)
        self.note_prompts(step, hidden)
        return host_flight(step.ready, self.model.logits(hidden[step.rows]), self.never)

    def note_prompts(self, step: Step, hidden: Tensor) -> None:
        """Logprobs of the prompt tokens that this step predicts, for those who asked."""
        for part in step.prompts:
            sequence, top = part.sequence, part.sequence.spec.sampling.prompt_logprobs
            logits = self.model.logits(hidden[part.row : part.row + part.length]).cpu()
            targets = sequence.spec.prompt[part.first : part.first + part.length]
            sequence.prompt_choices += [
                choice(row, token, top) for row, token in zip(logits, targets, strict=True)
            ]

    def _compute(self, plan: StepPlan, tokens: list[int], adapted: Adapted) -> Tensor:
        """Hidden states [rows, hidden] of a step, on all ranks."""
        if self._team is not None:
            self._team.step(plan, tokens, adapted)
        return compute(self.model, self.cache, plan, torch.tensor(tokens), adapted)


def compute(
    model: StepModel, cache: SlotState, plan: StepPlan, tokens: Tensor, adapted: Adapted
) -> Tensor:
    """One rank's work of a step: hidden states of ``tokens``, adapters on their own rows."""
    cache.begin(plan)
    device = cache.device
    groups = [(adapter, sent(torch.tensor(rows), device)) for adapter, rows in adapted]
    adapt = adapt_rows(groups) if groups else None
    return model(sent(tokens, device), sent(plan.positions(), device), cache.attend, adapt)
