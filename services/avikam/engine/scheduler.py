"""Who runs in the next step: one loop, no phases.

Every step gives each running sequence its token and spends the rest of the token budget on
prompts. A running sequence needs exactly one slot, so admission is a counter: nothing runs out
in mid-flight.

    loading --settled--> waiting (see waiting.py) --free slot--> running --> finished
                            ▲                                       │
                            └── its tenant is overdrawn (shares.py) ┘

A sequence loads while its prefix is fetched from another tier; others pass it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import count

from avikam.engine.sequence import Sequence
from avikam.engine.shares import TURN, Shares
from avikam.engine.waiting import WaitingQueue
from avikam.model.attention.plan import Chunk, StepPlan

Place = Callable[[Sequence, Seq[int]], int]
"""(a sequence, the free slots, longest free first) -> the slot it gets."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: ``decoding`` in slot order, then ``chunks`` (sequence, tokens of it)."""

    decoding: tuple[Sequence, ...]
    chunks: tuple[tuple[Sequence, int], ...]

    def plan(self) -> StepPlan:
        """Which slots compute which positions in this step."""
        return StepPlan(
            decode_slots=tuple(slot_of(s) for s in self.decoding),
            decode_positions=tuple(s.computed for s in self.decoding),
            chunks=tuple(Chunk(slot_of(s), s.computed, n) for s, n in self.chunks),
        )

    @property
    def size(self) -> int:
        """Tokens that the step computes."""
        return len(self.decoding) + sum(length for _, length in self.chunks)

    def input_tokens(self) -> list[int]:
        """The step's tokens: one of each decoding sequence, then each chunk's."""
        tokens = [s.next_input for s in self.decoding]
        for sequence, length in self.chunks:
            tokens += sequence.tokens[sequence.computed : sequence.computed + length]
        return tokens

    def parts(self) -> Iterator[tuple[Sequence, int]]:
        """Every sequence with its number of tokens, in the order of their rows."""
        yield from ((sequence, 1) for sequence in self.decoding)
        yield from self.chunks


def slot_of(sequence: Sequence) -> int:
    """The slot of a running sequence."""
    if sequence.slot is None:
        raise RuntimeError(f"sequence {sequence.spec.request_id} runs without a slot")
    return sequence.slot


class Scheduler:
    """Slots, the waiting queue and the running set.

    With a ``boundary``, chunks end at its multiples, where states are saved.
    """

    def __init__(
        self, slots: int, token_budget: int, longest_chunk: int, boundary: int | None = None
    ) -> None:
        if token_budget < slots:
            raise ValueError(
                f"token_budget {token_budget} is below slots {slots}: every running sequence "
                "needs one token a step; raise token_budget or lower slots"
            )
        self.slots = slots
        self._budget = token_budget
        self._longest_chunk = longest_chunk
        self._boundary = boundary
        self._free = list(range(slots))  # longest free first
        self._arrivals = count()
        self._loading: list[tuple[int, Sequence]] = []
        self._waiting: WaitingQueue[Sequence] = WaitingQueue()
        self._shares = Shares(slots)
        self._running: dict[str, Sequence] = {}

    @property
    def running(self) -> int:
        """Sequences that have a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that have none yet."""
        return len(self._waiting) + len(self._loading)

    def has_work(self, now: float) -> bool:
        """Whether a step has something to compute."""
        self._settle(now)
        return bool(self._waiting or self._running)

    def patience(self, now: float) -> float | None:
        """Seconds until a sequence has loaded for long enough; none when none loads."""
        loads = [s.prefetch.deadline for _, s in self._loading if s.prefetch is not None]
        return max(0.0, min(loads) - now) if loads else None

    def sequences(self) -> Iterator[Sequence]:
        """Everything not finished, running first."""
        yield from self._running.values()
        yield from self._waiting
        yield from (sequence for _, sequence in self._loading)

    def add(self, sequence: Sequence) -> None:
        """Take a sequence, whose state may have to be loaded first."""
        sequence.arrival = next(self._arrivals)
        self._loading.append((sequence.arrival, sequence))

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and free its slot."""
        if sequence.slot is None:
            self._loading = [entry for entry in self._loading if entry[1] is not sequence]
            self._waiting.remove(sequence)
            return
        self._release(sequence, sequence.slot)

    def _release(self, sequence: Sequence, slot: int) -> None:
        del self._running[sequence.spec.request_id]
        self._shares.give_back(sequence.spec.tenant)
        self._free.append(slot)

    def leavers(self, now: float) -> Iterator[Sequence]:
        """Who is to give its slot back now, so that a tenant below its share can start.

        One at a time is asked. It takes part in no further step, and leaves when its last token has
        been read.
        """
        self._settle(now)
        if not any(sequence.leaving for sequence in self._running.values()):
            self._ask_one()
        yield from [s for s in self._running.values() if s.leaving and s.pending == 1]

    def _ask_one(self) -> None:
        waiting = self._waiting
        if self._free or not waiting or not self._shares.needy(waiting.first, waiting.tenants):
            return
        for tenant in self._shares.overdrawn(waiting.tenants):
            asked = [s for s in self._running.values() if s.spec.tenant == tenant]
            asked = [s for s in asked if s.spec.priority >= waiting.urgency and s.had_turn(TURN)]
            if asked:
                max(asked, key=lambda sequence: sequence.turn).leaving = True
                return

    def hand_back(self, sequence: Sequence) -> None:
        """Let a running sequence wait again, before those of its tenant that came later."""
        self._release(sequence, slot_of(sequence))
        sequence.go_back()
        self._waiting.push(sequence.arrival, sequence)

    def admit(self, now: float, place: Place) -> Iterator[Sequence]:
        """Give free slots to those that wait, and name them as they start."""
        self._settle(now)
        while self._free and self._waiting:
            waiting = self._waiting
            sequence = waiting.pop(self._shares.needy(waiting.first, waiting.tenants))
            slot = place(sequence, self._free)
            self._free.remove(slot)
            sequence.start(slot, now)
            self._shares.take(sequence.spec.tenant)
            self._running[sequence.spec.request_id] = sequence
            yield sequence

    def next_batch(self) -> Batch:
        """Share out the token budget."""
        running = self._running.values()
        decoding = sorted((s for s in running if s.decodes and not s.leaving), key=slot_of)
        return Batch(tuple(decoding), tuple(self._chunks(self._budget - len(decoding))))

    def _chunks(self, budget: int) -> Iterator[tuple[Sequence, int]]:
        """Prompts in order of admission; a cut chunk ends on a multiple of 64 where it can."""
        for sequence in self._running.values():
            if sequence.pending <= 1:
                continue
            if budget <= 0:
                return
            length = min(sequence.pending, budget, self._longest_chunk)
            if self._boundary is not None:
                length = min(length, self._boundary - sequence.computed % self._boundary)
            if length < sequence.pending and length > 64:
                length -= (sequence.computed + length) % 64
            yield sequence, length
            budget -= length

    def _settle(self, now: float) -> None:
        """Let those wait for a slot that load no longer."""
        loading, self._loading = self._loading, []
        for entry in loading:
            if entry[1].loading(now):
                self._loading.append(entry)
            else:
                self._waiting.push(*entry)
