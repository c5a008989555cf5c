"""One sequence of the fake engine, and the figures that its answer carries."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from avikam.engine import fake_text
from avikam.engine.fake_reader import PlainReader, StoppingReader
from avikam.engine.fault_plan import Fault
from avikam.engine.interface import SequenceSpec, Sink, Timings, TokenChoice

# Without a pace, a sequence gets this many tokens a step.
_BURST = fake_text.BLOCK


@dataclass(slots=True, eq=False)
class FakeSequence:
    """One sequence on its way: waiting (no slot), running, or ended. Times are seconds."""

    spec: SequenceSpec
    sink: Sink
    index: int
    end: int
    reader: PlainReader | StoppingReader
    faults: deque[Fault]
    tpot: float
    cost: int
    submitted: float
    arrival: int = 0
    running: bool = False
    turn_from: int = 0
    admitted: float = 0.0
    first: float = 0.0
    due: float = 0.0
    ended: bool = False

    def tokens_due(self, now: float) -> int:
        """How many tokens are due now: at least one, at most up to the next fault."""
        count = 1 + int((now - self.due) / self.tpot) if self.tpot else _BURST
        end = min(self.end, self.faults[0].at) if self.faults else self.end
        return min(count, end - self.index)

    def timings(self) -> Timings:
        """Seconds in the queue, until the first token, and since."""
        now = time.monotonic()
        admitted = self.admitted or now
        first = self.first or now
        return Timings(
            queue=admitted - self.submitted, prefill=first - admitted, decode=now - first
        )


def made_up_choices(tokens: Sequence[int], wanted: int | None) -> tuple[TokenChoice, ...]:
    """Logprobs: the same for the same token wherever it stands."""
    if wanted is None:
        return ()
    return tuple(
        TokenChoice(
            token,
            -0.5 - token / 1024,
            1,
            tuple(
                ((token + rank) % fake_text.VOCAB_SIZE, -0.5 - token / 1024 - rank)
                for rank in range(wanted)
            ),
        )
        for token in tokens
    )
