"""One sequence from submission to its only end.

LOADING --settled--> WAITING --slot--> RUNNING --finish--> done
                        ▲─── go_back ─────┘
(a finish may come in any state; only a prefix that is fetched from elsewhere makes it load)

tokens     | prompt ............ | generated ...... |
computed   | keys and values in the slot ......|      pending = len(tokens) - computed

With steps in flight, ``computed`` counts from a launch and may be ahead of the tokens read.
"""

from __future__ import annotations

from collections import Counter

from avikam.engine.adapters import AdapterLease
from avikam.engine.detokenizer import Detokenizer
from avikam.engine.grammar import Grammar
from avikam.engine.interface import (
    Delta,
    Finish,
    FinishReason,
    SequenceSpec,
    Sink,
    Timings,
    TokenChoice,
)
from avikam.engine.kv.keys import PrefixChain
from avikam.engine.kv.remote import Prefetch
from avikam.engine.sampler import SamplingRow

UNREAD = -1  # a token that the device has chosen and the host has not read


class Sequence:
    """State of one request inside the engine; only the engine thread touches it."""

    def __init__(
        self,
        spec: SequenceSpec,
        sink: Sink,
        detokenizer: Detokenizer,
        end_ids: frozenset[int],
        limit: int,
        now: float,
        adapter: AdapterLease | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.spec = spec
        self.adapter = adapter
        self.slot: int | None = None
        self.arrival = 0
        self.leaving = False  # asked to give its slot back
        self.tokens = [*spec.prompt, *spec.generated]
        self.computed = 0
        self.cached = 0  # of these, copied from a snapshot
        self.chain: PrefixChain | None = None
        self.prefetch: Prefetch | None = None
        self.prompt_choices: list[TokenChoice] = []
        self._sink = sink
        self._detokenizer = detokenizer
        self._end_ids = end_ids
        self._limit = limit
        self._grammar = grammar
        self._generated = Counter(spec.generated)
        self._prompt = frozenset(spec.prompt)
        self._queued_at = now
        self._started_at = now
        self._first_token_at: float | None = None
        self._turn_from = 0  # tokens generated when it got its slot
        self._spared: int | None = None  # prompt tokens that were cached when it first started
        if grammar is not None:
            grammar.accept(spec.generated)
        for index, token in enumerate(spec.generated):
            self._detokenizer.feed(token, stops_count=self._past_minimum(index))

    @property
    def digest(self) -> str:
        """Content of its adapter; empty for the base model."""
        return "" if self.adapter is None else self.adapter.applied.digest

    @property
    def reusable(self) -> bool:
        """Whether it may skip what is known: logprobs of a prompt need every token computed."""
        return self.spec.sampling.prompt_logprobs is None

    @property
    def generated(self) -> int:
        """Tokens that were generated so far."""
        return len(self.tokens) - len(self.spec.prompt)

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are not in the slot yet."""
        return len(self.tokens) - self.computed

    @property
    def decodes(self) -> bool:
        """Whether it has one token to compute; while that is unread, none after its last."""
        unread = self.pending == 0 and self.coming + 1 < self._limit
        return self.pending == 1 or unread

    @property
    def coming(self) -> int:
        """Index of the token that the tokens computed so far lead to."""
        return self.computed - len(self.spec.prompt)

    @property
    def next_input(self) -> int:
        """The first token that is not computed."""
        return self.tokens[self.computed] if self.pending > 0 else UNREAD

    @property
    def host_chooses(self) -> bool:
        """Whether its coming token depends on more than logits, seed and position."""
        params = self.spec.sampling
        return (
            self._grammar is not None
            or params.logprobs is not None
            or bool(params.logit_bias)
            or self.coming < params.min_tokens
            or params.repetition_penalty != 1.0
            or bool(params.presence_penalty or params.frequency_penalty)
        )

    @property
    def cost(self) -> int:
        """Admission cost: prompt plus half of what may be generated."""
        return len(self.spec.prompt) + self._limit // 2

    def loading(self, now: float) -> bool:
        """Whether its prefix is still on its way."""
        return self.prefetch is not None and not self.prefetch.settled(now)

    @property
    def dead_end(self) -> str:
        """Why no token could be chosen for it."""
        if self._grammar is None:
            return "the model's logits are not numbers"
        problem = self._grammar.problem or "none of the tokens that it allows can be chosen"
        return f"the answer cannot follow its grammar any further: {problem}"

    @property
    def turn(self) -> int:
        """Tokens it has generated since it got its slot."""
        return self.generated - self._turn_from

    def had_turn(self, tokens: int) -> bool:
        """Whether it has made so many, and could go on elsewhere: logprobs of a prompt would be
        told twice."""
        return self.reusable and self.pending <= 1 and self.turn >= tokens

    def start(self, slot: int, now: float) -> None:
        """It has a slot from ``now`` (seconds) on."""
        if self._spared is None:
            self._started_at = now
        self.slot = slot
        self._turn_from = self.generated

    def go_back(self) -> None:
        """Give the slot back and wait again. What was told stays told; what was computed is found
        again or computed again, and comes out the same."""
        if self._spared is None:
            self._spared = self.cached
        self.slot = None
        self.leaving = False
        self.computed = self.cached = 0

    def skip(self, tokens: int) -> None:
        """The slot holds the first ``tokens`` already."""
        self.computed = self.cached = tokens

    def already_over(self) -> FinishReason | None:
        """Whether the tokens it was resumed with already end it."""
        if not self.spec.generated:
            return None
        if self._detokenizer.stop_match:
            return FinishReason.STOP
        return self._reason_after(self.spec.generated[-1], self.generated - 1)

    def sampling_row(self) -> SamplingRow:
        """What the sampler needs to choose the next token."""
        params = self.spec.sampling
        banned = tuple(self._end_ids) if self.coming < params.min_tokens else ()
        return SamplingRow(
            params=params,
            seed=params.seed or 0,
            position=self.computed,
            prompt=self._prompt,
            generated=self._generated,
            banned=banned,
            allowed=None if self._grammar is None else self._grammar.allowed(),
        )

    def append(self, choice: TokenChoice, now: float) -> FinishReason | None:
        """Take the next token, tell the client, and say whether the sequence is over."""
        if self._first_token_at is None:
            self._first_token_at = now
        index = self.generated
        self.tokens.append(choice.token)
        self._generated[choice.token] += 1
        if self._grammar is not None:
            self._grammar.accept((choice.token,))
        reason = self._reason_after(choice.token, index)
        text = ""
        if not self._ends(choice.token, index):
            text = self._detokenizer.feed(choice.token, stops_count=self._past_minimum(index))
            if self._detokenizer.stop_match:
                reason = FinishReason.STOP
        choices = (choice,) if self.spec.sampling.logprobs is not None else ()
        finish = None
        if reason is not None:
            if not self._detokenizer.stop_match:
                text += self._detokenizer.finish(stops_count=self._past_minimum(index))
            if self._detokenizer.stop_match:
                reason = FinishReason.STOP
            finish = self._finish(reason, now)
        self._sink(Delta(index, (choice.token,), text, choices, finish))
        return reason

    def end(self, reason: FinishReason, now: float, error: str = "") -> None:
        """End without a further token: cancelled, too late, or failed.

        Text that is held back is not told where another engine may go on and tell it.
        """
        goes_on = reason in (FinishReason.CANCELLED, FinishReason.FAILED)
        text = "" if goes_on else self._detokenizer.finish()
        self._sink(Delta(self.generated, text=text, finish=self._finish(reason, now, error)))

    def _past_minimum(self, index: int) -> bool:
        return index + 1 >= self.spec.sampling.min_tokens

    def _ends(self, token: int, index: int) -> bool:
        return token in self._end_ids and self._past_minimum(index)

    def _reason_after(self, token: int, index: int) -> FinishReason | None:
        if self._ends(token, index) or (self._grammar is not None and self._grammar.complete):
            return FinishReason.STOP
        return FinishReason.LENGTH if index + 1 >= self._limit else None

    def _finish(self, reason: FinishReason, now: float, error: str = "") -> Finish:
        first = self._first_token_at or now
        begun = self.slot is not None or self._spared is not None
        started = self._started_at if begun else now
        cached = self.cached if self._spared is None else self._spared
        return Finish(
            reason=reason,
            prompt_tokens=len(self.spec.prompt),
            completion_tokens=self.generated,
            timings=Timings(
                queue=started - self._queued_at,
                prefill=max(0.0, first - started),
                decode=max(0.0, now - first),
                cached_tokens=min(cached, len(self.spec.prompt)),
            ),
            stop_match=self._detokenizer.stop_match,
            error=error,
            prompt_choices=tuple(self.prompt_choices),
        )
