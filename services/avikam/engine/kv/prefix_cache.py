"""The engine's one door to prefix reuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avikam.engine.interface import KvStats
from avikam.engine.kv.block import BlockFormat
from avikam.engine.kv.codec import ColdForm
from avikam.engine.kv.counters import KvCounters
from avikam.engine.kv.host import HostEntry, HostTier
from avikam.engine.kv.keys import PrefixChain, root_key
from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
from avikam.engine.kv.remote import LinkOptions, Prefetch, RemoteLink
from avikam.model.attention.snapshot import SlotStore, Snapshot

_SHARED_AFTER_HITS = 2
_UNWRITTEN_SHARE = 4  # a quarter of the memory, at most, waits to be written


@dataclass(frozen=True, slots=True)
class KvOptions:
    """What an operator may choose about prefix reuse.

    A prefix is saved every ``chunk`` tokens; one shorter than ``break_even`` is computed again.
    ``tenant_share`` is the part of the memory that a tenant keeps while others need room.
    ``secret`` makes the keys of a shared Redis unguessable and its blocks unforgeable.
    """

    host_bytes: int = 256 * 2**20
    tenant_share: float = 0.5
    chunk: int = 256
    break_even: int = 64
    cold: ColdForm = "exact"
    secret: str = ""
    redis: RedisOptions | None = None
    redis_break_even: int = 256
    patience: float = 0.1


class PrefixCache:
    """Snapshots of prefixes, by what they depend on. Thread-safe but for the chains."""

    def __init__(self, cache: SlotStore, identity: Sequence[str], options: KvOptions) -> None:
        self._options = options
        self._identity = (*identity, cache.name, cache.config.to_json(), options.cold)
        self._counters = KvCounters()
        quota = int(options.host_bytes * options.tenant_share)
        self._host = HostTier(options.host_bytes, quota)
        self._remote: RemoteLink | None = None
        if options.redis is not None:
            blocks = BlockFormat(cache, options.cold)
            self._remote = RemoteLink(
                self._host,
                RedisTier(options.redis, most_bytes=blocks.most_bytes),
                blocks,
                self._counters,
                LinkOptions(
                    chunk=options.chunk,
                    most_unwritten=options.host_bytes // _UNWRITTEN_SHARE,
                    secret=options.secret,
                    patience=options.patience,
                    break_even=options.redis_break_even,
                ),
            )

    @property
    def chunk(self) -> int:
        """A prompt's state is saved whenever it has this many tokens more."""
        return self._options.chunk

    def chain(self, tokens: Sequence[int], adapter: str, tenant: str) -> PrefixChain:
        """Keys of the prefixes of ``tokens`` as ``adapter`` (a digest) and ``tenant`` see them."""
        chunk = str(self._options.chunk)
        root = root_key(self._options.secret, *self._identity, chunk, adapter, tenant)
        return PrefixChain(root, tokens, self._options.chunk)

    def prefetch(
        self, tokens: Sequence[int], adapter: str, tenant: str, wake: Callable[[], None]
    ) -> Prefetch | None:
        """Begin to bring a prefix from the remote tier; ``wake`` is called when that has ended."""
        if self._remote is None:
            return None
        own = self.chain(tuple(tokens), adapter, tenant)
        return self._remote.prefetch(own, len(tokens) - 1, tenant, wake)

    def is_longest(
        self, chain: PrefixChain, limit: int, length: int, seconds_per_token: float
    ) -> bool:
        """Whether a slot that holds ``length`` tokens beats what memory has; then it is a hit."""
        if length < max(self._options.break_even, self._host.longest(chain, limit)):
            return False
        self._counters.add(device_hits=1)
        self._counters.spare(length, length * seconds_per_token)
        return True

    def find(self, chain: PrefixChain, limit: int, seconds_per_token: float) -> Snapshot | None:
        """The longest known state of at most ``limit`` tokens, where using it pays."""
        if limit < self._options.break_even:
            return None
        length = self._host.longest(chain, limit)
        entry = self._host.get(chain.key(length), chain.prefix(length)) if length else None
        if entry is None or length < self._options.break_even:
            self._counters.add(host_misses=1)
            return None
        self._counters.add(host_hits=1)
        self._counters.spare(length, length * seconds_per_token)
        if self._remote is not None and entry.hits >= _SHARED_AFTER_HITS:
            self._remote.share(entry)
        return entry.snapshot

    def save(
        self,
        chain: PrefixChain,
        length: int,
        tenant: str,
        take: Callable[[], Snapshot],
        *,
        turn_end: bool,
    ) -> bool:
        """Keep the state after ``length`` tokens; ``take`` copies it, if it is not known yet.

        False when it must not, or need not, be used again.
        """
        if length < self._options.break_even:
            return False
        key = chain.key(length)
        if self._host.touch(key):
            return True
        snapshot = take()
        if not snapshot.finite:
            return False
        entry = HostEntry(key, chain.parent(length), tenant, chain.prefix(length), snapshot)
        if self._host.put(entry) and turn_end and self._remote is not None:
            self._remote.share(entry)
        return True

    def stats(self) -> KvStats:
        """What all tiers hold, and what became of look-ups so far."""
        open_breaker = self._remote is not None and not self._remote.tier.available
        return self._counters.stats(
            host_entries=len(self._host),
            host_bytes=self._host.used,
            host_evictions=self._host.evictions,
            remote_errors=0 if self._remote is None else self._remote.tier.errors,
            remote_open=int(open_breaker),
        )

    def close(self) -> None:
        """End the threads that talk to the remote tier."""
        if self._remote is not None:
            self._remote.close()
