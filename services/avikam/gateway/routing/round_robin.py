"""Every worker in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from avikam.gateway.routing.hint import Candidate, Hint

C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], hint: Hint) -> C:
    """The next one."""
    return candidates[hint.turn % len(candidates)]
