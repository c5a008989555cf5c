"""Sequences that only wait: for tests of queues."""

from __future__ import annotations

import itertools

from avikam.engine.detokenizer import Detokenizer
from avikam.engine.interface import SequenceSpec
from avikam.engine.sequence import Sequence
from avikam.protocol.sampling import SamplingParams

_ids = itertools.count()


class OneLetter:
    """A stream of one letter."""

    def feed(self, token: int) -> str:
        return "a"

    def finish(self) -> str:
        return ""


def waiting(tenant: str = "", cost: int = 100, priority: int = 0) -> Sequence:
    """A sequence of ``cost`` tokens of work."""
    spec = SequenceSpec(
        f"request-{next(_ids)}", (0,) * cost, SamplingParams(), tenant=tenant, priority=priority
    )
    text = Detokenizer(OneLetter())
    return Sequence(spec, lambda _: None, text, frozenset(), limit=0, now=0.0)
