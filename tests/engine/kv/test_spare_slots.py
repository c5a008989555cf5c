"""A free slot still holds its last state: whoever goes on from there gets it, without a copy."""

from __future__ import annotations

from typing import Any

import pytest

from avikam.engine.engine import TorchEngine
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.kv.spare import SpareSlots, SpareState
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.kv.conversations import cached, kv, prompt_of, until
from tests.engine.test_engine import settled

# Memory that no state fits into: what is known is known by slots alone.
SLOTS_ALONE = KvOptions(host_bytes=1000, chunk=16, break_even=1)
ROOT = b"root"


def turn(engine: TorchEngine, tokens: list[int], most: int = 7, **asked: Any) -> Answer:
    answer = ask(engine, tokens, max_tokens=most, ignore_eos=True, **asked).wait()
    settled(engine)
    return answer


@pytest.mark.parametrize("native", [True, False], ids=["native", "pytorch"])
def test_conversations_go_on_in_their_slots(build: BuildEngine, native: bool) -> None:
    cold = build(kv=None, native=native)
    warm = build(kv=SLOTS_ALONE, slots=3, native=native)
    histories: list[list[int]] = [[], [], []]
    for number in range(4):
        for which, history in enumerate(histories):
            known = max(0, len(history) - 1)
            history.extend(prompt_of(9, seed=10 * number + which))
            answer = turn(warm, history)
            assert answer.tokens == turn(cold, history).tokens
            assert cached(answer) == known
            history.extend(answer.tokens)
    assert (kv(warm).device_hits, kv(warm).host_hits, kv(warm).host_entries) == (9, 0, 0)


def test_a_slot_that_was_given_away_is_forgotten(build: BuildEngine) -> None:
    cold, warm = build(kv=None), build(kv=SLOTS_ALONE, slots=2)
    first = prompt_of(20)
    first += turn(warm, first).tokens
    for seed in (1, 2):  # the first takes the empty slot, the second the one left longest ago
        turn(warm, prompt_of(20, seed=seed))
    again = [*first, 50]
    answer = turn(warm, again)
    assert cached(answer) == 0
    assert answer.tokens == turn(cold, again).tokens


def test_tenants_do_not_meet_in_a_slot(build: BuildEngine) -> None:
    engine = build(kv=SLOTS_ALONE, slots=1)
    said = prompt_of(20)
    said += turn(engine, said, tenant="a").tokens
    assert cached(turn(engine, [*said, 50], tenant="b")) == 0
    assert cached(turn(engine, [*said, 50, 51], tenant="a")) == 0, "b has written over it"


def test_memory_is_asked_where_it_knows_more(build: BuildEngine) -> None:
    cold, warm = build(kv=None), build(kv=KvOptions(chunk=16, break_even=1), slots=1)
    whole = prompt_of(60)
    turn(warm, whole, most=1)
    turn(warm, whole[:20], most=1)  # now the only slot holds 20 tokens, memory 60
    answer = turn(warm, [*whole, 50])
    assert cached(answer) == 60
    assert answer.tokens == turn(cold, [*whole, 50]).tokens
    assert kv(warm).device_hits == 0


def test_prompt_logprobs_compute_every_token_and_spare_the_others_slots(
    build: BuildEngine,
) -> None:
    engine = build(kv=SLOTS_ALONE, slots=2)
    said = prompt_of(20)
    said += turn(engine, said).tokens
    assert cached(turn(engine, [*said, 50], prompt_logprobs=0)) == 0
    assert cached(turn(engine, [*said, 50])) == len(said) - 1


def test_a_cancelled_sequence_leaves_nothing_to_go_on_from(build: BuildEngine) -> None:
    engine = build(kv=SLOTS_ALONE, slots=1)
    prompt = prompt_of(20)
    answer = ask(engine, prompt, max_tokens=60, ignore_eos=True)
    until(lambda: bool(answer.deltas), "the first token")
    engine.cancel(answer.request_id)
    answer.wait()
    settled(engine)
    assert cached(turn(engine, [*prompt, *answer.tokens, 50])) == 0


def test_the_longest_beginning_wins_then_an_empty_slot_then_the_oldest() -> None:
    spare = SpareSlots()
    spare.keep(0, SpareState(ROOT, (1, 2)))
    spare.keep(1, SpareState(ROOT, (1, 2, 3)))
    spare.keep(2, SpareState(b"other", (1, 2, 3, 4)))
    spare.keep(4, SpareState(ROOT, (1, 2, 3, 4)))
    assert spare.choose([2, 0, 1, 3], ROOT, [1, 2, 3, 4, 5]) == 1, "4 is not free"
    assert spare.choose([2, 0, 1, 3], ROOT, [1, 2, 3]) == 0, "a token must be left to compute"
    assert spare.choose([2, 0, 1, 3], ROOT, [7, 8]) == 3
    assert spare.choose([2, 0, 1], ROOT, [7, 8]) == 2
    assert spare.take(2) == SpareState(b"other", (1, 2, 3, 4))
    assert spare.take(2) is None
