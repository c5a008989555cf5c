"""Between host memory and the remote tier: loads while requests queue, writes when nobody waits."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from avikam.engine.kv.block import BlockError, BlockFormat
from avikam.engine.kv.counters import KvCounters
from avikam.engine.kv.host import HostEntry, HostTier
from avikam.engine.kv.keys import PrefixChain, seal_key
from avikam.engine.kv.redis_tier import RedisTier

log = logging.getLogger(__name__)

_LOADERS = 4
_MOST_LOADS = 64
_LAST_WRITES_SECONDS = 2.0


class Prefetch:
    """One load on its way. The sequence waits until it is settled: arrived, or too late."""

    def __init__(self, deadline: float, wake: Callable[[], None]) -> None:
        self.deadline = deadline
        self.done = False
        self._wake = wake

    def settled(self, now: float) -> bool:
        """Whether nobody has to wait for it any more at ``now``."""
        return self.done or now >= self.deadline

    def finish(self) -> None:
        """Its state is here, or will not come."""
        self.done = True
        self._wake()


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """``chunk`` is the chains'; at most ``most_unwritten`` bytes wait to be written.

    A sequence waits for a load ``patience`` seconds at most; ``break_even`` are the tokens that it
    must spare.
    """

    chunk: int
    most_unwritten: int
    secret: str
    patience: float
    break_even: int


class RemoteLink:
    """Moves snapshots between the host tier and the remote one, on threads of its own."""

    def __init__(
        self,
        host: HostTier,
        tier: RedisTier,
        blocks: BlockFormat,
        counters: KvCounters,
        options: LinkOptions,
    ) -> None:
        self._host = host
        self._tier = tier
        self._blocks = blocks
        self._counters = counters
        self._options = options
        self._lock = threading.Lock()
        self._flights: dict[bytes, Future[None]] = {}
        self._loading = 0
        self._loaders = ThreadPoolExecutor(_LOADERS, thread_name_prefix="avikam-kv-load")
        self._writes: queue.SimpleQueue[HostEntry | None] = queue.SimpleQueue()
        self._unwritten = 0
        self._writer = threading.Thread(target=self._write_all, name="avikam-kv-write", daemon=True)
        self._writer.start()

    @property
    def tier(self) -> RedisTier:
        """What it talks to."""
        return self._tier

    def prefetch(
        self, chain: PrefixChain, limit: int, tenant: str, wake: Callable[[], None]
    ) -> Prefetch | None:
        """Begin to load the longest prefix of ``chain`` that host memory lacks.

        None when that cannot pay: too little to gain, Redis out of order, too many loads already.
        ``chain`` must be the load's own: it is read from another thread.
        """
        known = self._host.longest(chain, limit)
        if limit - known < self._options.break_even or not self._tier.available:
            return None
        with self._lock:
            if self._loading >= _MOST_LOADS:
                return None
            self._loading += 1
        prefetch = Prefetch(time.monotonic() + self._options.patience, wake)
        above = known + self._options.break_even - 1
        self._loaders.submit(self._load, prefetch, chain, limit, above, tenant)
        return prefetch

    def share(self, entry: HostEntry) -> None:
        """Write an entry to the remote tier some time soon; left out when writes pile up."""
        if (
            entry.shared
            or entry.snapshot.seen < self._options.break_even
            or not self._tier.available
        ):
            return
        with self._lock:
            fits = self._unwritten + entry.size <= self._options.most_unwritten
            self._unwritten += entry.size if fits else 0
        if not fits:
            self._counters.add(remote_dropped=1)
            return
        entry.shared = True
        self._writes.put(entry)

    def close(self) -> None:
        """End the threads; what is to be written still has a moment."""
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._writes.put(None)
        self._writer.join(_LAST_WRITES_SECONDS)
        self._tier.close()

    def _load(
        self, prefetch: Prefetch, chain: PrefixChain, limit: int, above: int, tenant: str
    ) -> None:
        try:
            length = self._tier.longest(chain, limit, above)
            if length:
                self._single_flight(chain, length, tenant)
            else:
                self._counters.add(remote_misses=1)
        except Exception:
            log.exception("loading a prefix failed; it is computed instead")
        finally:
            with self._lock:
                self._loading -= 1
            if time.monotonic() >= prefetch.deadline:
                self._counters.add(remote_late=1)
            prefetch.finish()

    def _single_flight(self, chain: PrefixChain, length: int, tenant: str) -> None:
        """Fetch a block once, however many sequences ask for it at the same time."""
        key = chain.key(length)
        with self._lock:
            flight = self._flights.get(key)
            first = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not first:
            flight.result()
            return
        try:
            if not self._host.touch(key):
                self._fetch(chain, length, tenant)
        finally:
            with self._lock:
                del self._flights[key]
            flight.set_result(None)

    def _fetch(self, chain: PrefixChain, length: int, tenant: str) -> None:
        key, tokens = chain.key(length), chain.prefix(length)
        block = self._tier.get(key)
        if block is None:
            self._counters.add(remote_misses=1)
            return
        try:
            snapshot = self._blocks.decode(block, key, tokens, seal_key(self._options.secret, key))
        except BlockError as error:
            log.warning("a cold KV block is left out: %s", error)
            self._counters.add(remote_corrupt=1, remote_misses=1)
            self._tier.delete(key)
            return
        self._counters.add(remote_hits=1, remote_read_bytes=len(block))
        parent = chain.parent(length)
        entry = HostEntry(key, parent, tenant, tokens, snapshot, shared=True)
        self._host.put(entry)

    def _write_all(self) -> None:
        while (entry := self._writes.get()) is not None:
            try:
                self._write(entry)
            except Exception:
                log.exception("writing a prefix failed")
            with self._lock:
                self._unwritten -= entry.size

    def _write(self, entry: HostEntry) -> None:
        seal = seal_key(self._options.secret, entry.key)
        block = self._blocks.encode(entry.snapshot, entry.key, entry.tokens, seal)
        tail = entry.snapshot.seen % self._options.chunk
        if self._tier.put(entry.key, entry.parent, tail, block):
            self._counters.add(
                remote_writes=1, remote_written_bytes=len(block), remote_raw_bytes=entry.size
            )
        else:
            entry.shared = False
