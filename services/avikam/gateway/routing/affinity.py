"""Same beginning, same worker, unless it is overloaded: warm prefixes without hot spots.

Rendezvous hashing (Thaler & Ravishankar 1998) orders the workers for a key; the first one within
a bounded load takes it (Mirrokni et al. 2016, "Consistent Hashing with Bounded Loads").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from avikam.gateway.routing.hint import Candidate, Hint

C = TypeVar("C", bound=Candidate)

# How far above the mean a worker may be loaded and still attract its own prefixes.
BOUND = 1.25
_MASK = (1 << 64) - 1


def choose(candidates: Sequence[C], hint: Hint) -> C:
    """The best-ranked worker whose load stays within the bound; there always is one.

    One sequence of the same size is no overload, or an idle pool would have no affinity.
    """
    total = sum(candidate.load for candidate in candidates) + hint.cost
    limit = max(BOUND * total / len(candidates), hint.cost)
    within = [candidate for candidate in candidates if candidate.load <= limit]
    return max(within, key=lambda candidate: rank(hint.key, candidate.hash))


def rank(key: int, worker: int) -> int:
    """A pseudo-random number of the pair: the finalizer of splitmix64."""
    x = (key * 0x9E3779B97F4A7C15 ^ worker * 0xD1B54A32D192ED03) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
