"""The less loaded of two random workers (Mitzenmacher 2001): near the best, without herding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from avikam.gateway.routing.hint import Candidate, Hint

C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], hint: Hint) -> C:
    """Two different workers by one draw; the one with less work per slot."""
    count = len(candidates)
    if count == 1:
        return candidates[0]
    pair = int(hint.draw * count * (count - 1))
    first, offset = divmod(pair, count - 1)
    second = (first + 1 + offset) % count
    return min(
        (candidates[first], candidates[second]),
        key=lambda candidate: candidate.load / max(candidate.slots, 1),
    )
