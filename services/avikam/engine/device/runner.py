"""Steps on an accelerator: the host launches one while the device still computes the one before.

    host     launch n | read n-1, tell clients | launch n+1 | read n ...
    device    ... n-1 | n                          | n+1

The device chooses tokens itself and keeps the newest of every slot in a pool, so a step needs none
from the host. Reading them is the only wait. Where the host must choose
(:attr:`~avikam.engine.sequence.Sequence.host_chooses`), a step waits for its logits instead.

A sequence that ends while a further step of it is in flight needs no care: the queue keeps order,
so whoever gets its slot writes later, and the state that is kept for its next turn has one token
more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avikam.engine.device.accelerator import Accelerator
from avikam.engine.device.graphs import DecodeGraphs
from avikam.engine.device.rows import StepRows
from avikam.engine.draw import Draw, perturbed
from avikam.engine.flight import Flight, host_flight
from avikam.engine.interface import TokenChoice
from avikam.engine.runner import ModelRunner, compute
from avikam.engine.scheduler import Batch
from avikam.engine.sequence import Sequence
from avikam.engine.step import Step
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.attention.plan import StepPlan
from avikam.model.attention.transfer import sent
from avikam.model.steps import StepModel


class DeviceRunner(ModelRunner):
    """A model whose slots lie on an accelerator."""

    def __init__(
        self, model: StepModel, cache: DeviceSlots, never: Tensor, accelerator: Accelerator
    ) -> None:
        super().__init__(model, cache, never)
        device, slots = cache.device, cache.slots
        self._accelerator = accelerator
        self._masked = never.to(device)
        self._pool = torch.zeros(slots + 1, dtype=torch.int64, device=device)
        self._rows = StepRows(accelerator, slots, device, cache.nobody)
        self._graphs = DecodeGraphs(model, cache, self._rows, self._pool, accelerator)
        self._answers = [accelerator.pinned(1, slots, torch.int64)[0] for _ in range(2)]

    def warm_up(self) -> None:
        """Run each kernel once and capture the graphs of decode steps."""
        super().warm_up()
        self._graphs.capture()

    @torch.inference_mode()
    def launch(self, batch: Batch) -> Flight:
        """Begin a step and return; its tokens are chosen on the device."""
        step = Step.take(batch)
        draws = [_draw(sequence, self.model.config.vocab_size) for sequence in step.ready]
        decoding = len(step.plan.decode_slots)
        alone = not (step.plan.chunks or step.adapted or step.prompts)
        bucket = self._graphs.bucket(decoding) if alone else None
        self._rows.send(_feeds(step), _ends(batch, step), draws, bucket or len(step.ready))
        logits = self._launched(step) if bucket is None else self._graphs.replay(bucket)
        if any(sequence.host_chooses for sequence in step.ready):
            return host_flight(step.ready, logits[: len(step.ready)], self.never)
        return self._ahead(step.ready, logits[: len(step.ready)], draws)

    @torch.inference_mode()
    def decode(self, plan: StepPlan, tokens: list[int]) -> Tensor:
        """Logits of a step of decode rows alone, run as :meth:`launch` would; for measuring."""
        rows = list(range(plan.tokens))
        step = Step(plan, tokens, [], (), rows, ())
        bucket = self._graphs.bucket(len(rows))
        self._rows.send(_feeds(step), (), [None] * len(rows), bucket or len(rows))
        logits = self._launched(step) if bucket is None else self._graphs.replay(bucket)
        return logits[: len(rows)]

    def _launched(self, step: Step) -> Tensor:
        """Logits of a step that no graph holds, launched call by call."""
        decoding = len(step.plan.decode_slots)
        device = self.cache.device
        fresh = sent(torch.tensor(step.tokens[decoding:], dtype=torch.int64), device)
        tokens = torch.cat((self._rows.tokens(decoding, self._pool), fresh))
        hidden = compute(self.model, self.cache, step.plan, tokens, step.adapted)
        self.note_prompts(step, hidden)
        return self.model.logits(hidden[sent(torch.tensor(step.rows, dtype=torch.int64), device)])

    def _ahead(
        self, ready: tuple[Sequence, ...], logits: Tensor, draws: list[Draw | None]
    ) -> Flight:
        """Queue the choice of tokens, and the way of their numbers to the host."""
        count = len(ready)
        chosen = self._choose(logits, draws)
        self._pool.index_copy_(0, self._rows.slots(count), chosen.clamp(min=0))
        answers = self._answers[0][:count]
        self._answers.reverse()
        self._accelerator.copy(chosen, answers)
        fence = self._accelerator.fence()

        def land() -> list[TokenChoice | None]:
            fence.synchronize()
            return [TokenChoice(t, 0.0, 0) if t >= 0 else None for t in answers.tolist()]

        return Flight(ready, land, ahead=True)

    def _choose(self, logits: Tensor, draws: list[Draw | None]) -> Tensor:
        """The next token of every row of ``logits``; -1 where no finite logit is left."""
        scores = logits.index_fill(1, self._masked, -torch.inf)
        if any(draws):
            count = len(draws)
            noise = perturbed(scores, self._rows.draws(draws, logits.shape[1]))
            scores = torch.where(self._rows.noisy(count).unsqueeze(1), noise, scores)
        best, tokens = scores.max(dim=-1)
        possible = (best > -torch.inf) & ~logits.amax(dim=-1).isnan()
        return torch.where(possible, tokens, -1)


def _draw(sequence: Sequence, vocab_size: int) -> Draw | None:
    params = sequence.spec.sampling
    if params.greedy:
        return None
    return Draw.of(params, params.seed or 0, sequence.computed, vocab_size)


def _feeds(step: Step) -> list[tuple[int, int, int]]:
    """(token, slot, position) of the rows that decode."""
    plan = step.plan
    return list(zip(step.tokens, plan.decode_slots, plan.decode_positions, strict=False))


def _ends(batch: Batch, step: Step) -> list[int]:
    """Slots of the prompts that end in this step."""
    return [s.slot for s in step.ready[len(batch.decoding) :] if s.slot is not None]
