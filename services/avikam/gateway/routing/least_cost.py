"""The worker with the least work per slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from avikam.gateway.routing.hint import Candidate, Hint

C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], hint: Hint) -> C:
    """Least tokens per slot; equals take turns."""
    start = hint.turn % len(candidates)
    rotated = [*candidates[start:], *candidates[:start]]
    return min(rotated, key=lambda candidate: candidate.load / max(candidate.slots, 1))
