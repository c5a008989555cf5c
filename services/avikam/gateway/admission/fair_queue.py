"""Deficit round robin (Shreedhar & Varghese 1996): tenants share by cost, not by request count.

Each visit gives a tenant ``quantum`` of credit; it may send what its credit covers.

    tenant A  [900] [900]           A: 900      <- one long request
    tenant B  [300] [300] [300]     B: 300 300 300
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import KeysView
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items with a tenant and a cost, taken out fairly."""

    def __init__(self, quantum: int = 512) -> None:
        self._quantum = quantum
        self._lanes: OrderedDict[str, deque[tuple[int, T]]] = OrderedDict()
        self._credit: dict[str, int] = {}
        self._costs: dict[str, int] = {}
        self._size = 0
        self.cost = 0

    def __len__(self) -> int:
        return self._size

    def push(self, tenant: str, cost: int, item: T) -> None:
        """Wait behind the tenant's own items."""
        if tenant not in self._lanes:
            self._lanes[tenant] = deque()
            self._credit[tenant] = self._costs[tenant] = 0
        self._lanes[tenant].append((cost, item))
        self._costs[tenant] += cost
        self._size += 1
        self.cost += cost

    def pop(self) -> T | None:
        """The next item, or None when empty."""
        while self._lanes:
            tenant, lane = next(iter(self._lanes.items()))
            cost, item = lane[0]
            if self._credit[tenant] < cost:
                self._credit[tenant] += self._quantum
                self._lanes.move_to_end(tenant)
                continue
            self._credit[tenant] -= cost
            self._take(tenant, lane, 0)
            return item
        return None

    def remove(self, tenant: str, item: T) -> None:
        """Take out an item that gave up."""
        lane = self._lanes.get(tenant, deque())
        for index, (_, waiting) in enumerate(lane):
            if waiting is item:
                self._take(tenant, lane, index)
                return

    def drop(self, tenant: str) -> T:
        """Take out the tenant's newest item; it must have one."""
        lane = self._lanes[tenant]
        item = lane[-1][1]
        self._take(tenant, lane, len(lane) - 1)
        return item

    def of(self, tenant: str) -> tuple[int, int]:
        """How many items the tenant has here, and their cost."""
        return len(self._lanes.get(tenant, ())), self._costs.get(tenant, 0)

    def tenants(self) -> KeysView[str]:
        """Everyone who has something here."""
        return self._lanes.keys()

    def before(self, tenant: str) -> int:
        """How many items go before a new one of the tenant's, at equal costs: its own, and as many
        of each other's."""
        turns = len(self._lanes.get(tenant, ()))
        others = (min(len(lane), turns + 1) for t, lane in self._lanes.items() if t != tenant)
        return turns + sum(others)

    def _take(self, tenant: str, lane: deque[tuple[int, T]], index: int) -> None:
        self.cost -= lane[index][0]
        self._costs[tenant] -= lane[index][0]
        del lane[index]
        self._size -= 1
        if not lane:
            # A tenant with nothing waiting saves no credit for later.
            del self._lanes[tenant], self._credit[tenant], self._costs[tenant]
