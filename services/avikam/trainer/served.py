"""A checkpoint run the way a CPU worker runs it: step by step over slots, natively where it can be.

Evaluation of an int8 model goes through here, so that its figures are the served ones to the last
bit: the arithmetic is the same for every batch and every cut, whoever makes the steps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.backends import Backend
from avikam.model.checkpoint import Checkpoint
from avikam.trainer.decoding import Advance, Request, room
from avikam.trainer.examples import Example
from avikam.trainer.likelihood import Likelihood


class ServedModel:
    """An int8 checkpoint and ``slots`` sequences that it may work on at once."""

    def __init__(self, checkpoint: Checkpoint, slots: int = 64) -> None:
        self.config = checkpoint.config
        backend = Backend("int8")
        self._slots = backend.slots(checkpoint.config, slots)
        self._model = backend.model(checkpoint, self._slots)

    @torch.inference_mode()
    def log_likelihoods(
        self, examples: Sequence[Example], advance: Advance | None = None
    ) -> list[Likelihood]:
        """As :func:`avikam.trainer.likelihood.log_likelihoods`.

        An example that begins like the one before it, as the options of a question do, goes on
        from where they part: the arithmetic is exact, so the figures are the same.
        """
        found: list[Likelihood] = []
        before: list[int] = []
        for example in examples:
            found.append(self._likelihood(example, self._held(before, example)))
            before = example.tokens if found[-1].tokens else []
            if advance:
                advance(1)
        return found

    def _held(self, before: list[int], example: Example) -> int:
        """How many of the example's first tokens need not be computed again.

        Slot 0 holds them from ``before``, unless its ring has gone round; the hidden state in
        front of the first counted token is needed in any case.
        """
        if len(before) > self.config.window or not any(example.counts[1:]):
            return 0
        pairs = enumerate(zip(before[:-1], example.tokens, strict=False))
        same = next((i for i, (old, new) in pairs if old != new), max(0, len(before) - 1))
        return min(same, example.counts.index(True, 1) - 1)

    @torch.inference_mode()
    def greedy(
        self,
        requests: Sequence[Request],
        stop: int,
        advance: Advance | None = None,
        never: Collection[int] = (),
    ) -> list[list[int]]:
        """As :func:`avikam.trainer.decoding.greedy`: answers in the order of the requests."""
        order = sorted(range(len(requests)), key=lambda i: requests[i].limit, reverse=True)
        forbidden = torch.tensor(sorted(never), dtype=torch.long)
        answers: list[list[int]] = [[] for _ in requests]
        for start in range(0, len(order), self._slots.slots):
            chosen = order[start : start + self._slots.slots]
            sequences = [self._sequence(requests[i], answers[i]) for i in chosen]
            self._finish(sequences, stop, forbidden)
            if advance:
                advance(len(chosen))
        return answers

    def _sequence(self, request: Request, answer: list[int]) -> _Sequence:
        return _Sequence(request.prompt, answer, room(request, self.config.max_positions))

    def _likelihood(self, example: Example, held: int) -> Likelihood:
        counted = torch.tensor(example.counts[held + 1 :])
        targets = torch.tensor(example.tokens[held + 1 :])[counted]
        if not len(targets):
            return Likelihood(0.0, 0)
        hidden = self._prefill(0, example.tokens[:-1], held)
        logits = self._model.logits(hidden[counted])
        losses = F.cross_entropy(logits, targets, reduction="none")
        return Likelihood(-float(losses.double().sum()), len(targets))

    def _finish(self, sequences: list[_Sequence], stop: int, forbidden: Tensor) -> None:
        """Every sequence has its slot, that of its place, until all are done."""
        last = torch.stack([self._prefill(s, q.prompt)[-1] for s, q in enumerate(sequences)])
        running = list(range(len(sequences)))
        while True:
            logits = self._model.logits(last).index_fill(-1, forbidden, -torch.inf)
            new = logits.argmax(-1).tolist()
            taken = zip(running, new, strict=True)
            running = [slot for slot, token in taken if sequences[slot].goes_on(token, stop)]
            if not running:
                return
            last = self._decode({slot: sequences[slot] for slot in running})

    def _prefill(self, slot: int, tokens: list[int], held: int = 0) -> Tensor:
        """Hidden states [len(tokens) - held, hidden] of a prompt whose beginning the slot holds."""
        most, parts = self._slots.longest_chunk, []
        for start in range(held, len(tokens), most):
            piece = tokens[start : start + most]
            parts.append(self._step(StepPlan((), (), (Chunk(slot, start, len(piece)),)), piece))
        return torch.cat(parts)

    def _decode(self, running: dict[int, _Sequence]) -> Tensor:
        positions = tuple(sequence.position for sequence in running.values())
        tokens = [sequence.answer[-1] for sequence in running.values()]
        return self._step(StepPlan(tuple(running), positions), tokens)

    def _step(self, plan: StepPlan, tokens: list[int]) -> Tensor:
        self._slots.begin(plan)
        return self._model(torch.tensor(tokens), plan.positions(), self._slots.attend)


class _Sequence:
    """A prompt and its answer so far, of at most ``limit`` tokens."""

    def __init__(self, prompt: list[int], answer: list[int], limit: int) -> None:
        self.prompt = prompt
        self.answer = answer
        self._limit = limit

    @property
    def position(self) -> int:
        """Where the newest token of the answer stands."""
        return len(self.prompt) + len(self.answer) - 1

    def goes_on(self, token: int, stop: int) -> bool:
        """Take the next token; whether another one is wanted."""
        if token == stop or not self._limit:
            return False
        self.answer.append(token)
        return len(self.answer) < self._limit
