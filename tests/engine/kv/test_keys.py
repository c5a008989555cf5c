"""Keys: the same for the same prefix, different for everything else."""

from __future__ import annotations

from avikam.engine.kv.keys import PrefixChain, root_key, seal_key, token_bytes


def test_a_chain_does_not_depend_on_the_order_of_questions() -> None:
    tokens = list(range(1000))
    root = root_key("", "model")
    lengths = (700, 3, 256, 512, 255, 257, 1000, 0)
    asked = PrefixChain(root, tokens, 256)
    fresh = [PrefixChain(root, tokens, 256).key(n) for n in lengths]
    assert [asked.key(n) for n in lengths] == fresh
    assert len(set(fresh)) == len(lengths)


def test_keys_follow_a_list_that_grows() -> None:
    tokens = list(range(5))
    chain = PrefixChain(root_key("", "model"), tokens, 4)
    before = chain.key(5)
    tokens += [7, 8, 9]
    assert chain.key(5) == before
    assert chain.key(8) == PrefixChain(root_key("", "model"), tokens, 4).key(8)


def test_every_part_of_a_root_counts() -> None:
    roots = [
        root_key("", "model", "adapter", "tenant"),
        root_key("", "model", "adapter", "other"),
        root_key("", "model", "", "adaptertenant"),
        root_key("", "modela", "dapter", "tenant"),
        root_key("secret", "model", "adapter", "tenant"),
        root_key("s" * 100, "model", "adapter", "tenant"),
        root_key("s" * 101, "model", "adapter", "tenant"),
    ]
    assert len(set(roots)) == len(roots)


def test_a_seal_needs_the_secret() -> None:
    key = root_key("", "model")
    assert len({seal_key("", key), seal_key("secret", key), key}) == 3


def test_tokens_are_little_endian() -> None:
    assert token_bytes([1, 258]) == b"\x01\0\0\0\x02\x01\0\0"
