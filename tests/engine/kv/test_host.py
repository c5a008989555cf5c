"""Host memory: bounded, least recently used out first, tenants kept apart."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from avikam.engine.kv.host import HostEntry, HostTier
from avikam.engine.kv.keys import PrefixChain, root_key
from avikam.model.attention.snapshot import Snapshot

CHUNK = 4


def chain_of(tokens: list[int], tenant: str = "") -> PrefixChain:
    return PrefixChain(root_key("", "model", tenant), tokens, CHUNK)


def entry_of(chain: PrefixChain, length: int, tenant: str = "", size: int = 100) -> HostEntry:
    """An entry of ``size`` bytes, its tokens included."""
    tokens = chain.prefix(length)
    snapshot = Snapshot(length, ((torch.zeros(size - len(tokens), dtype=torch.int8),),))
    return HostEntry(chain.key(length), chain.parent(length), tenant, tokens, snapshot)


def test_the_longest_known_prefix_is_found_at_and_between_boundaries() -> None:
    tier = HostTier(10_000, 10_000)
    chain = chain_of(list(range(20)))
    for length in (3, 4, 8, 10, 15):
        tier.put(entry_of(chain, length))
    found = [tier.longest(chain, limit) for limit in range(20)]
    assert found == [0, 0, 0, 3, 4, 4, 4, 4, 8, 8, 10, 10, 10, 10, 10, 15, 15, 15, 15, 15]


def test_prefixes_that_part_share_what_is_common() -> None:
    tier = HostTier(10_000, 10_000)
    mine = chain_of([1, 2, 3, 4, 5, 6, 7])
    yours = chain_of([1, 2, 3, 4, 9, 9, 9])
    for length in (4, 6):
        tier.put(entry_of(mine, length))
    assert tier.longest(mine, 7) == 6
    assert tier.longest(yours, 7) == 4


def test_the_least_recently_used_leaves_first() -> None:
    tier = HostTier(300, 300)
    chains = [chain_of([i] * 8) for i in range(4)]
    for chain in chains[:3]:
        tier.put(entry_of(chain, 8))
    assert tier.get(chains[0].key(8), chains[0].prefix(8)) is not None
    tier.put(entry_of(chains[3], 8))
    assert [tier.longest(chain, 8) for chain in chains] == [8, 0, 8, 8]
    assert (tier.used, len(tier), tier.evictions) == (300, 3, 1)


def test_a_hit_needs_the_same_tokens() -> None:
    tier = HostTier(300, 300)
    chain = chain_of([1, 2, 3, 4])
    tier.put(entry_of(chain, 4))
    assert tier.get(chain.key(4), chain_of([1, 2, 3, 5]).prefix(4)) is None


def test_what_is_larger_than_a_quota_is_not_kept() -> None:
    tier = HostTier(300, 150)
    assert not tier.put(entry_of(chain_of([1] * 4), 4, size=151))
    assert len(tier) == 0


def test_a_flood_of_one_tenant_pushes_out_its_own() -> None:
    tier = HostTier(1000, 500)
    victim = [chain_of([i] * 4, "victim") for i in range(3)]
    for chain in victim:
        tier.put(entry_of(chain, 4, "victim"))
    for i in range(100):
        tier.put(entry_of(chain_of([i] * 4, "flood"), 4, "flood"))
    assert [tier.longest(chain, 4) for chain in victim] == [4, 4, 4]
    assert tier.used == 1000, "free memory is anybody's"


def test_other_tenants_see_nothing() -> None:
    tier = HostTier(1000, 500)
    tier.put(entry_of(chain_of([1] * 4, "a"), 4, "a"))
    assert tier.longest(chain_of([1] * 4, "b"), 4) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_books_balance(seed: int) -> None:
    rng = random.Random(seed)
    tier = HostTier(1000, 400)
    chains = [chain_of(rng.choices(range(3), k=12), t) for t in "abc" for _ in range(6)]
    for _ in range(400):
        tenant = rng.choice("abc")
        chain = rng.choice(chains[6 * "abc".index(tenant) :][:6])
        length = rng.randint(1, 12)
        if rng.random() < 0.5:
            tier.put(entry_of(chain, length, tenant, rng.randint(60, 300)))
        else:
            found = tier.longest(chain, length)
            assert found <= length
            assert not found or tier.get(chain.key(found), chain.prefix(found)) is not None
        held = Counter[str]()
        for entry in tier.entries():
            held[entry.tenant] += entry.size
        assert held.total() == tier.used <= 1000
