"""Snapshots in host memory: least recently used out first, and nobody pushes out the others.

A tenant may use all the memory that is free. When room is needed, those above their quota give
theirs back first.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from avikam.engine.kv.keys import PrefixChain
from avikam.model.attention.snapshot import Snapshot


@dataclass(slots=True)
class HostEntry:
    """One snapshot and what is known of it. ``tokens`` are compared at each hit."""

    key: bytes
    parent: bytes
    tenant: str
    tokens: bytes
    snapshot: Snapshot
    shared: bool = False  # known to the remote tier, or on its way there
    hits: int = 0

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return self.snapshot.bytes + len(self.tokens)


class HostTier:
    """At most ``budget`` bytes of snapshots, of which a tenant keeps ``quota``. Thread-safe."""

    def __init__(self, budget: int, quota: int) -> None:
        self._budget = budget
        self._quota = quota
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, HostEntry] = OrderedDict()
        self._used: Counter[str] = Counter()
        # Boundary -> how many snapshots end so many tokens behind it.
        self._tails: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
        self.evictions = 0

    @property
    def used(self) -> int:
        """Bytes held."""
        with self._lock:
            return self._used.total()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def entries(self) -> list[HostEntry]:
        """All entries, least recently used first."""
        with self._lock:
            return list(self._entries.values())

    def longest(self, chain: PrefixChain, limit: int) -> int:
        """Length of the longest known prefix of at most ``limit`` tokens; 0 when none is."""
        with self._lock:
            found = (n for n in self._lengths(chain, limit) if chain.key(n) in self._entries)
            return next(found, 0)

    def get(self, key: bytes, tokens: bytes) -> HostEntry | None:
        """The entry of ``key``, used now, when it is of exactly these ``tokens``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.tokens != tokens:
                return None
            self._entries.move_to_end(key)
            entry.hits += 1
            return entry

    def touch(self, key: bytes) -> bool:
        """Whether ``key`` is known; it counts as used now."""
        with self._lock:
            if key not in self._entries:
                return False
            self._entries.move_to_end(key)
            return True

    def put(self, entry: HostEntry) -> bool:
        """Keep an entry, unless it is larger than what its tenant may keep."""
        if entry.size > min(self._budget, self._quota):
            return False
        with self._lock:
            if entry.key in self._entries:
                self._remove(entry.key)
            while self._used.total() + entry.size > self._budget:
                self._remove(self._victim(entry))
                self.evictions += 1
            self._entries[entry.key] = entry
            self._used[entry.tenant] += entry.size
            self._tails[entry.parent][entry.snapshot.seen] += 1
        return True

    def _lengths(self, chain: PrefixChain, limit: int) -> Iterator[int]:
        """Lengths at which some snapshot of this chain's boundaries ends, longest first."""
        for _, boundary in chain.boundaries(limit):
            ends = self._tails.get(boundary, ())
            yield from sorted((n for n in ends if n <= limit), reverse=True)

    def _victim(self, arriving: HostEntry) -> bytes:
        """The oldest entry of the tenants above their quota, or else the oldest."""
        used = self._used + Counter({arriving.tenant: arriving.size})
        greedy = {tenant for tenant, size in used.items() if size > self._quota}
        mine = (key for key, entry in self._entries.items() if entry.tenant in greedy)
        return next(mine, None) or next(iter(self._entries))

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        self._used[entry.tenant] -= entry.size
        if not self._used[entry.tenant]:
            del self._used[entry.tenant]
        tails = self._tails[entry.parent]
        tails[entry.snapshot.seen] -= 1
        if not tails[entry.snapshot.seen]:
            del tails[entry.snapshot.seen]
        if not tails:
            del self._tails[entry.parent]
