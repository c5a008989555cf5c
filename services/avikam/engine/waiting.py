"""Who gets the next free slot: the most urgent first, then every tenant its share, then arrival.

Tenants share by deficit round robin (Shreedhar & Varghese 1995): in each round a tenant may start
work of one quantum of tokens, and saves up what it could not use. So one that sends many or long
requests delays itself, not the others.

    priority 0    tenant a   [5][6]        ◄── front: served while its deficit covers the cost
                  tenant b   [2][7][9]
    priority 1    tenant a   [1]           waits until nothing more urgent does
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from avikam.engine.interface import SequenceSpec

QUANTUM = 512  # tokens of cost


class Waits(Protocol):
    """What may wait: whose it is, and what it will cost."""

    @property
    def spec(self) -> SequenceSpec:
        """What was asked for, with its tenant and priority."""

    @property
    def cost(self) -> int:
        """Tokens that it will probably take."""


S = TypeVar("S", bound=Waits)


@dataclass(slots=True)
class _Tenant(Generic[S]):
    """One tenant's sequences by arrival (their number first: the heap's order), and what it may
    still start in this round."""

    entries: list[tuple[int, S]] = field(default_factory=list)
    deficit: int = 0


class WaitingQueue(Generic[S]):
    """Sequences that wait for a slot."""

    def __init__(self) -> None:
        self._classes: dict[int, OrderedDict[str, _Tenant[S]]] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[S]:
        for tenants in self._classes.values():
            for tenant in tenants.values():
                yield from (sequence for _, sequence in tenant.entries)

    def __bool__(self) -> bool:
        return bool(self._classes)

    @property
    def tenants(self) -> frozenset[str]:
        """Who waits."""
        return frozenset(name for tenants in self._classes.values() for name in tenants)

    @property
    def urgency(self) -> int:
        """The priority of the most urgent; raises ValueError when nobody waits."""
        return min(self._classes)

    @property
    def first(self) -> Collection[str]:
        """Tenants of the most urgent."""
        return self._classes[self.urgency].keys()

    def push(self, arrival: int, sequence: S) -> None:
        """``arrival`` numbers are unique; the lowest of a tenant goes first."""
        tenants = self._classes.setdefault(sequence.spec.priority, OrderedDict())
        tenant = tenants.setdefault(sequence.spec.tenant, _Tenant())
        heapq.heappush(tenant.entries, (arrival, sequence))

    def pop(self, only: Collection[str] = ()) -> S:
        """The next to run, of ``only`` these tenants if there are any; raises IndexError when
        nobody waits."""
        if not self._classes:
            raise IndexError("nobody waits")
        tenants = self._classes[min(self._classes)]
        while True:
            name, tenant = next(iter(tenants.items()))
            if only and name not in only:
                tenants.move_to_end(name)
                continue
            sequence = tenant.entries[0][1]
            # Alone, nobody has to be waited for, and nothing is saved up for later company.
            if len(tenants) == 1 or len(only) == 1 or sequence.cost <= tenant.deficit:
                tenant.deficit = max(0, tenant.deficit - sequence.cost)
                self.remove(sequence)
                return sequence
            tenant.deficit += QUANTUM
            tenants.move_to_end(name)

    def remove(self, sequence: S) -> None:
        """Forget one sequence, wherever it stands; one that does not wait is ignored."""
        tenants = self._classes.get(sequence.spec.priority, OrderedDict())
        tenant = tenants.get(sequence.spec.tenant)
        if tenant is None:
            return
        tenant.entries = [entry for entry in tenant.entries if entry[1] is not sequence]
        heapq.heapify(tenant.entries)
        if not tenant.entries:
            del tenants[sequence.spec.tenant]
        if not tenants:
            del self._classes[sequence.spec.priority]
