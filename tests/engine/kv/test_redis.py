"""A real Redis between engines: conversations move, faults cost speed and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from avikam.engine.engine import TorchEngine
from avikam.engine.kv.breaker import Breaker
from avikam.engine.kv.keys import PrefixChain, root_key
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
from tests.engine.client import ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import cached, kv, prompt_of, until
from tests.engine.kv.redis_server import RedisServer

CHUNK = 16


def shared(server: RedisServer, **changes: object) -> KvOptions:
    """Everything worth sharing is shared, and a busy machine may take its time."""
    patient = RedisOptions(server.url, timeout=2.0)
    options = KvOptions(chunk=CHUNK, break_even=1, redis=patient, redis_break_even=8, patience=10.0)
    return replace(options, **changes)  # type: ignore[arg-type]


def written(engine: TorchEngine, count: int) -> None:
    until(lambda: kv(engine).remote_writes >= count, f"{count} writes to Redis")


def test_a_conversation_of_ten_turns_moves_from_engine_to_engine(
    build: BuildEngine, redis_server: RedisServer, long_checkpoint: Path
) -> None:
    alone = build(model=long_checkpoint, kv=None)
    movers = [build(model=long_checkpoint, kv=shared(redis_server)) for _ in range(2)]
    tokens: list[int] = []
    known = 0
    for turn in range(10):
        tokens += prompt_of(30, seed=turn)
        here = movers[turn % 2]
        expected = ask(alone, tokens, max_tokens=11, ignore_eos=True).wait()
        answer = ask(here, tokens, max_tokens=11, ignore_eos=True).wait()
        assert answer.text == expected.text
        assert cached(answer) == known, f"turn {turn} computes nothing that is known"
        tokens += answer.tokens
        known = len(tokens) - 1
        written(here, turn // 2 + 1)
    assert sum(kv(mover).remote_hits for mover in movers) == 9


def test_a_common_prompt_is_shared_after_its_second_hit(
    build: BuildEngine, redis_server: RedisServer
) -> None:
    here, there = (build(kv=shared(redis_server)) for _ in range(2))
    system = prompt_of(32)
    for i in range(4):
        ask(here, system + prompt_of(5, seed=i), max_tokens=1).wait()
    written(here, 5)  # the end of each turn, and the common prompt
    assert cached(ask(there, system + prompt_of(9, seed=77), max_tokens=1).wait()) == 32


def test_many_who_ask_for_one_block_fetch_it_once(
    build: BuildEngine, redis_server: RedisServer
) -> None:
    here, there = (build(kv=shared(redis_server)) for _ in range(2))
    prompt = prompt_of(60)
    first = ask(here, prompt, max_tokens=2, ignore_eos=True).wait()
    written(here, 1)
    longer = [*prompt, *first.tokens, 50]
    crowd = [ask(there, longer, max_tokens=2) for _ in range(16)]
    assert [cached(answer) for answer in crowd] == [61] * 16
    assert kv(there).remote_hits == 1


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [({"secret": "a"}, {"secret": "b"}), ({"chunk": 16}, {"chunk": 32})],
    ids=["secret", "chunk"],
)
def test_engines_that_disagree_share_nothing(
    build: BuildEngine,
    redis_server: RedisServer,
    mine: dict[str, object],
    theirs: dict[str, object],
) -> None:
    here, there = (build(kv=shared(redis_server, **options)) for options in (mine, theirs))
    prompt = prompt_of(60)
    first = ask(here, prompt, max_tokens=2, ignore_eos=True).wait()
    written(here, 1)
    longer = [*prompt, *first.tokens, 50]
    assert cached(ask(there, longer, max_tokens=2).wait()) == 0
    assert cached(ask(here, longer, max_tokens=2).wait()) == 61


def test_damaged_blocks_are_computed_again_and_removed(
    build: BuildEngine, redis_server: RedisServer
) -> None:
    cold, here = build(kv=None), build(kv=shared(redis_server))
    rng = random.Random(3)
    prompt = prompt_of(60)
    first = ask(here, prompt, max_tokens=2, ignore_eos=True).wait()
    longer = [*prompt, first.tokens[0], 40]
    expected = ask(cold, longer, max_tokens=8, ignore_eos=True).wait()
    written(here, 1)
    ((name, block),) = redis_server.blocks().items()
    for damage in ("flip", "truncate", "swap"):
        redis_server.client.set(name, damaged(block, damage, rng))
        engine = build(kv=shared(redis_server))
        answer = ask(engine, longer, max_tokens=8, ignore_eos=True).wait()
        assert answer.text == expected.text
        assert (cached(answer), kv(engine).remote_corrupt) == (0, 1), damage
        assert redis_server.client.get(name) is None


def damaged(block: bytes, how: str, rng: random.Random) -> bytes:
    if how == "truncate":
        return block[: rng.randrange(len(block))]
    data = bytearray(block)
    where = rng.randrange(len(data) - 1)
    if how == "flip":
        data[where] ^= 1 << rng.randrange(8)
    else:
        data[:100], data[100:200] = data[100:200], data[:100]
    return bytes(data)


@pytest.mark.parametrize("fault", ["dead", "frozen"])
def test_a_redis_out_of_order_changes_nothing_but_speed(
    build: BuildEngine, redis_server: RedisServer, fault: str
) -> None:
    cold = build(kv=None)
    quick = RedisOptions(redis_server.url)
    engine = build(kv=shared(redis_server, redis=quick, patience=0.1))
    ask(engine, prompt_of(40, seed=99), max_tokens=2).wait()
    redis_server.kill() if fault == "dead" else redis_server.freeze()
    prompts = [prompt_of(50, seed=i) for i in range(12)]
    answers = [ask(engine, prompt, max_tokens=4) for prompt in prompts]
    expected = [ask(cold, prompt, max_tokens=4).wait().text for prompt in prompts]
    assert [answer.wait().text for answer in answers] == expected
    until(lambda: kv(engine).remote_errors >= 5, "failures are counted, and the breaker opens")
    if fault == "frozen":
        redis_server.thaw()


def test_a_late_block_is_a_miss_now_and_a_hit_later(
    build: BuildEngine, redis_server: RedisServer
) -> None:
    here = build(kv=shared(redis_server))
    prompt = prompt_of(60)
    first = ask(here, prompt, max_tokens=2, ignore_eos=True).wait()
    longer = [*prompt, *first.tokens, 50]
    written(here, 1)
    there = build(kv=shared(redis_server, patience=0.05))
    redis_server.freeze()
    late = ask(there, [*longer, 51, 52], max_tokens=2)
    assert cached(late.wait()) == 0
    redis_server.thaw()
    until(lambda: kv(there).remote_late == 1, "the load ends")
    assert kv(there).remote_hits == 1
    assert cached(ask(there, longer, max_tokens=2).wait()) == 61


def test_a_redis_that_is_full_is_left_alone(build: BuildEngine, redis_server: RedisServer) -> None:
    redis_server.client.config_set("maxmemory", "1mb")
    redis_server.client.config_set("maxmemory-policy", "noeviction")
    engine = build(kv=shared(redis_server))
    for seed in range(6):
        ask(engine, prompt_of(60, seed=seed), max_tokens=2).wait()
    until(lambda: kv(engine).remote_errors >= 5, "writes fail")
    assert kv(engine).remote_writes == 0


def test_a_cancelled_load_leaves_nothing(build: BuildEngine, redis_server: RedisServer) -> None:
    engine = build(kv=shared(redis_server))
    redis_server.freeze()
    waiting = ask(engine, prompt_of(60), max_tokens=2)
    engine.cancel(waiting.request_id)
    assert waiting.finish.reason.value == "cancelled"
    assert engine.stats().load_tokens == 0
    redis_server.thaw()


def test_others_pass_a_sequence_that_loads(build: BuildEngine, redis_server: RedisServer) -> None:
    engine = build(kv=shared(redis_server, redis_break_even=40))
    redis_server.freeze()
    loading = ask(engine, prompt_of(60), max_tokens=2)
    short = ask(engine, prompt_of(20), max_tokens=2)
    short.wait()
    assert not loading.done.is_set()
    redis_server.thaw()
    loading.wait()


def test_blocks_expire_and_hits_keep_them(redis_server: RedisServer) -> None:
    tier = RedisTier(RedisOptions(redis_server.url, ttl=100, timeout=2.0))
    chain = PrefixChain(root_key(""), list(range(40)), CHUNK)
    tier.put(chain.key(20), chain.parent(20), 4, b"block")
    (name,) = redis_server.blocks()
    redis_server.client.expire(name, 10)
    assert tier.get(chain.key(20)) == b"block"
    assert redis_server.client.ttl(name) > 90
    tier.close()


def test_the_longest_stored_prefix_is_found(redis_server: RedisServer) -> None:
    tier = RedisTier(RedisOptions(redis_server.url, timeout=2.0))
    chain = PrefixChain(root_key(""), list(range(100)), CHUNK)
    for length in (16, 20, 31, 48, 63):
        tier.put(chain.key(length), chain.parent(length), length % CHUNK, b"block")
    asked = [(15, 0), (16, 0), (30, 0), (31, 0), (47, 0), (62, 0), (99, 0), (99, 63), (30, 16)]
    found = [tier.longest(chain, limit, above) for limit, above in asked]
    assert found == [0, 16, 20, 31, 31, 48, 63, 0, 20]
    other = PrefixChain(root_key("", "other"), list(range(100)), CHUNK)
    assert tier.longest(other, 99, 0) == 0
    tier.close()


def sent_by(server: RedisServer) -> int:
    """Bytes that the server has sent in all."""
    return int(server.client.info("stats")["total_net_output_bytes"])


def test_what_is_no_blocks_size_is_not_even_read(
    build: BuildEngine, redis_server: RedisServer
) -> None:
    cold, here = build(kv=None), build(kv=shared(redis_server))
    prompt = prompt_of(60)
    first = ask(here, prompt, max_tokens=2, ignore_eos=True).wait()
    longer = [*prompt, first.tokens[0], 40]
    expected = ask(cold, longer, max_tokens=4, ignore_eos=True).wait()
    written(here, 1)
    ((name, block),) = redis_server.blocks().items()
    (bitmap,) = redis_server.client.keys("*:t:*")
    redis_server.client.setrange(bitmap, 32 * 2**20, b"\xff")
    for planted in (block + bytes(64 * 2**20), b""):
        redis_server.client.set(name, planted)
        before = sent_by(redis_server)
        there = build(kv=shared(redis_server))
        answer = ask(there, longer, max_tokens=4, ignore_eos=True).wait()
        assert answer.tokens == expected.tokens
        assert cached(answer) == 0
        assert sent_by(redis_server) - before < 2**20
    redis_server.client.set(name, block)
    again = build(kv=shared(redis_server))
    assert cached(ask(again, longer, max_tokens=4).wait()) == 61


def test_the_breaker_backs_off_and_recovers() -> None:
    now = 100.0
    breaker = Breaker("Redis", clock=lambda: now)
    for _ in range(4):
        breaker.failed(TimeoutError())
    assert not breaker.is_open()
    pauses = []
    for _ in range(8):
        breaker.failed(TimeoutError())
        began = now
        while breaker.is_open():
            now += 0.5
        pauses.append(now - began)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    breaker.succeeded()
    breaker.failed(TimeoutError())
    assert not breaker.is_open()


def test_a_dead_redis_answers_at_once(redis_server: RedisServer) -> None:
    tier = RedisTier(RedisOptions(redis_server.url))
    redis_server.freeze()
    chain = PrefixChain(root_key(""), list(range(40)), CHUNK)
    for _ in range(5):
        assert tier.longest(chain, 39, 0) == 0
    assert not tier.available
    assert [tier.get(chain.key(20)) for _ in range(1000)] == [None] * 1000
    assert tier.errors == 5, "a call that is left out asks nobody"
    redis_server.thaw()
    tier.close()
