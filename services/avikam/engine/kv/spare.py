"""Free slots that still hold what their last sequence computed: a tier that nothing is copied from.

    slot 3 (free)   state after 410 tokens ──► a prompt that begins with these 410 gets slot 3
    slot 5 (free)   nothing of use

A state is whole or gone: a slot that is given to another sequence is forgotten here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpareState:
    """The state after ``tokens``; ``root`` is that of their keys and says all else it is of."""

    root: bytes
    tokens: tuple[int, ...]

    def begins(self, root: bytes, tokens: Sequence[int]) -> bool:
        """Whether ``tokens`` begin with these and go on, under the same root."""
        length = len(self.tokens)
        if root != self.root or length >= len(tokens) or tokens[length - 1] != self.tokens[-1]:
            return False
        return tuple(tokens[:length]) == self.tokens


class SpareSlots:
    """What free slots hold, by slot; the engine's thread alone looks here."""

    def __init__(self) -> None:
        self._states: dict[int, SpareState] = {}

    def keep(self, slot: int, state: SpareState) -> None:
        """Remember the state that a free slot still holds."""
        self._states[slot] = state

    def take(self, slot: int) -> SpareState | None:
        """What a slot holds that is about to be written to; forgotten from now on."""
        return self._states.pop(slot, None)

    def choose(self, free: Sequence[int], root: bytes, tokens: Sequence[int]) -> int:
        """The slot of ``free`` (longest free first) that holds most of ``tokens``' beginning, or
        else an empty one, or else the first."""
        known = {s: len(state.tokens) for s, state in self._states.items() if s in free}
        fitting = (s for s in known if self._states[s].begins(root, tokens))
        empty = next((slot for slot in free if slot not in known), free[0])
        return max(fitting, key=lambda slot: known[slot], default=empty)
