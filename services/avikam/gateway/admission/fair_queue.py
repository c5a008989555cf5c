"""Deficit round robin (Shreedhar & Varghese 1996): tenants share by cost, not by request count.

Each visit gives a tenant ``quantum`` of credit; it may send what its credit covers.

    tenant A  [900] [900]           A: 900      <- one long request
    tenant B  [300] [300] [300]     B: 300 300 300
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items with a tenant and a cost, taken out fairly."""

    def __init__(self, quantum: int = 512) -> None:
        self._quantum = quantum
        self._lanes: OrderedDict[str, deque[tuple[int, T]]] = OrderedDict()
        self._credit: dict[str, int] = {}
        self._size = 0
        self.cost = 0

    def __len__(self) -> int:
        return self._size

    def push(self, tenant: str, cost: int, item: T) -> None:
        """Wait behind the tenant's own items."""
        if tenant not in self._lanes:
            self._lanes[tenant] = deque()
            self._credit[tenant] = 0
        self._lanes[tenant].append((cost, item))
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

    def _take(self, tenant: str, lane: deque[tuple[int, T]], index: int) -> None:
        self.cost -= lane[index][0]
        del lane[index]
        self._size -= 1
        if not lane:
            # A tenant with nothing waiting saves no credit for later.
            del self._lanes[tenant], self._credit[tenant]
