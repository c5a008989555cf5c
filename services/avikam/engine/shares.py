"""How many slots are a tenant's: as many as anybody's, of those who run or wait.

    share = slots / tenants, at least 1
    needy      waits, and runs fewer than its share
    overdrawn  runs more than its share

While nobody is needy a tenant may have all slots. When somebody is, one of the overdrawn gives a
slot back: a sequence that has had its turn of tokens goes back to the queue, its state is kept, and
it goes on later as if nothing had been, like one that moved to another worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

# Tokens that a sequence makes before it may be asked for its slot again.
TURN = 64


class Shares:
    """Slots in use, by tenant."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._used: Counter[str] = Counter()

    def take(self, tenant: str) -> None:
        """A sequence of the tenant starts."""
        self._used[tenant] += 1

    def give_back(self, tenant: str) -> None:
        """It ends, or goes back to the queue."""
        self._used[tenant] -= 1
        if not self._used[tenant]:
            del self._used[tenant]

    def needy(self, first: Collection[str], waiting: Collection[str]) -> frozenset[str]:
        """Of the tenants that wait ``first`` (the most urgent), those below their share."""
        share = self._share(waiting)
        return frozenset(tenant for tenant in first if self._used[tenant] < share)

    def overdrawn(self, waiting: Collection[str]) -> Iterator[str]:
        """Tenants above their share, the one with most slots first."""
        share = self._share(waiting)
        for tenant, used in self._used.most_common():
            if used <= share:
                return
            yield tenant

    def _share(self, waiting: Collection[str]) -> int:
        tenants = len(self._used.keys() | set(waiting))
        return max(1, self._slots // max(1, tenants))
