"""What a routing policy may know: the workers that could take a sequence, and the sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Candidate(Protocol):
    """A worker that could take the sequence."""

    @property
    def hash(self) -> int:
        """A number that stays with the worker's address, equal on every gateway."""

    @property
    def load(self) -> int:
        """Tokens before it."""

    @property
    def slots(self) -> int:
        """Sequences it runs at once."""


@dataclass(frozen=True, slots=True)
class Hint:
    """About the sequence: a key shared by prompts with the same beginning, its cost in tokens,
    and this decision's number and random draw, so that policies need no state of their own."""

    key: int
    cost: int
    turn: int
    draw: float


Policy = Callable[[Sequence[Any], Hint], Any]
