"""Who waits, by urgency first: the lowest priority goes before all others, whoever's it is.

Within one priority tenants share, as :mod:`.fair_queue` says. Workers order their own queues in the
same way, so a key's priority means the same wherever its sequences wait.

    priority -1   tenant b   [4]           goes first
    priority  0   tenant a   [1] [2] [5]   then these, a and b in turn
                  tenant b   [3]
"""

from __future__ import annotations

from typing import Generic, TypeVar

from avikam.gateway.admission.fair_queue import FairQueue

T = TypeVar("T")


class UrgentQueue(Generic[T]):
    """Items with a tenant, a cost and a priority."""

    def __init__(self) -> None:
        self._classes: dict[int, FairQueue[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._classes.values()))

    def __bool__(self) -> bool:
        return bool(self._classes)

    @property
    def cost(self) -> int:
        """Of all that wait."""
        return sum(queue.cost for queue in self._classes.values())

    def push(self, tenant: str, cost: int, item: T, priority: int) -> None:
        """Wait behind the tenant's own items of this priority."""
        self._classes.setdefault(priority, FairQueue()).push(tenant, cost, item)

    def pop(self) -> T | None:
        """The next item, or None when empty."""
        if not self._classes:
            return None
        priority = min(self._classes)
        item = self._classes[priority].pop()
        self._tidy(priority)
        return item

    def remove(self, tenant: str, item: T, priority: int) -> None:
        """Take out an item that gave up; one that is not here is ignored."""
        if priority in self._classes:
            self._classes[priority].remove(tenant, item)
            self._tidy(priority)

    def drop(self, tenant: str) -> T:
        """Take out the newest of the tenant's least urgent items; it must have one."""
        priority = max(p for p, queue in self._classes.items() if tenant in queue.tenants())
        item = self._classes[priority].drop(tenant)
        self._tidy(priority)
        return item

    def of(self, tenant: str) -> tuple[int, int]:
        """How many items the tenant has here, and their cost."""
        each = [queue.of(tenant) for queue in self._classes.values()]
        return sum(items for items, _ in each), sum(cost for _, cost in each)

    def tenants(self) -> set[str]:
        """Everyone who has something here."""
        return {tenant for queue in self._classes.values() for tenant in queue.tenants()}

    def not_behind(self, priority: int) -> tuple[int, int]:
        """How many items are at least as urgent, and their cost."""
        ahead = [queue for each, queue in self._classes.items() if each <= priority]
        return sum(map(len, ahead)), sum(queue.cost for queue in ahead)

    def less_urgent(self, priority: int) -> set[str]:
        """Everyone who has something here in the last class, if that is behind ``priority``."""
        last = max(self._classes, default=priority)
        return set(self._classes[last].tenants()) if last > priority else set()

    def before(self, tenant: str, priority: int) -> int:
        """How many items go before a new one of the tenant's, at equal costs."""
        first = sum(len(queue) for each, queue in self._classes.items() if each < priority)
        same = self._classes.get(priority)
        return first + (same.before(tenant) if same is not None else 0)

    def _tidy(self, priority: int) -> None:
        if not self._classes[priority]:
            del self._classes[priority]
