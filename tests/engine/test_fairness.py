"""Who waits, and who is let in: nobody can take the others' share."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avikam.engine.admission import Admission
from avikam.engine.interface import Delta
from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.sequence import Sequence
from avikam.engine.shares import Shares
from avikam.engine.waiting import QUANTUM, WaitingQueue
from avikam.protocol.errors import ApiError
from tests.engine.client import Answer, ask
from tests.engine.conftest import BuildEngine
from tests.engine.machine import engine_by_hand, step
from tests.engine.sequences import waiting

TURN = 16  # the context of the test's model has no room for the real one


def queue_of(*sequences: Sequence) -> WaitingQueue[Sequence]:
    queue: WaitingQueue[Sequence] = WaitingQueue()
    for arrival, sequence in enumerate(sequences):
        queue.push(arrival, sequence)
    return queue


def drained(queue: WaitingQueue[Sequence]) -> list[Sequence]:
    return [queue.pop() for _ in range(len(queue))]


def test_one_tenant_is_served_in_order_of_arrival() -> None:
    sequences = [waiting(cost=random.Random(i).randint(1, 2000)) for i in range(20)]
    assert drained(queue_of(*sequences)) == sequences


def test_a_flood_delays_its_own_tenant_alone() -> None:
    flood, single = [waiting("a", 300) for _ in range(100)], waiting("b", 300)
    order = drained(queue_of(*flood, single))
    assert order.index(single) <= 2 * QUANTUM // 300 + 1
    assert [s for s in order if s.spec.tenant == "a"] == flood


def test_tenants_share_by_tokens_and_not_by_requests() -> None:
    large = [waiting("large", 1000) for _ in range(20)]
    small = [waiting("small", 50) for _ in range(400)]
    spent: Counter[str] = Counter()
    for sequence in drained(queue_of(*large, *small))[:200]:
        spent[sequence.spec.tenant] += sequence.cost
        assert abs(spent["large"] - spent["small"]) <= 2 * (QUANTUM + 1000)


def test_the_urgent_go_first_whoever_sends_them() -> None:
    late, early = waiting("a", priority=0), [waiting("b", priority=5) for _ in range(5)]
    assert drained(queue_of(*early, late))[0] is late


def test_only_some_tenants_are_served_in_their_order() -> None:
    sequences = [waiting(name, 300) for name in "aabbccabc"]
    queue = queue_of(*sequences)
    served = [queue.pop(only={"b", "c"}) for _ in range(6)]
    assert set(served) == {s for s in sequences if s.spec.tenant != "a"}
    assert [s.spec.tenant for s in drained(queue)] == ["a"] * 3


def test_a_tenant_may_have_all_slots_while_nobody_else_waits() -> None:
    shares = Shares(slots=4)
    for _ in range(4):
        shares.take("a")
    assert not shares.needy({"a"}, {"a"})
    assert list(shares.overdrawn({"a"})) == []


def test_slots_are_shared_by_tenants_and_not_by_requests() -> None:
    shares = Shares(slots=6)
    for name in "aaaaab":
        shares.take(name)
    assert shares.needy({"a", "c"}, {"a", "c"}) == {"c"}
    assert list(shares.overdrawn({"a", "c"})) == ["a"]
    shares.give_back("a")
    shares.give_back("b")
    assert shares.needy({"b", "c"}, {"b", "c"}) == {"b", "c"}


def test_nobody_to_serve_is_an_error() -> None:
    with pytest.raises(IndexError):
        WaitingQueue().pop()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_queues_lose_nobody_and_keep_each_tenants_order(seed: int) -> None:
    rng = random.Random(seed)
    queue: WaitingQueue[Sequence] = WaitingQueue()
    inside: dict[Sequence, int] = {}
    served: dict[tuple[str, int], list[int]] = defaultdict(list)
    for arrival in range(60):
        action = rng.random()
        if action < 0.6:
            sequence = waiting(rng.choice("abc"), rng.randint(1, 3000), rng.randint(0, 1))
            queue.push(arrival, sequence)
            inside[sequence] = arrival
        elif inside and action < 0.7:
            gone = rng.choice(list(inside))
            queue.remove(gone)
            del inside[gone]
        elif inside:
            sequence = queue.pop()
            assert sequence.spec.priority == min(s.spec.priority for s in inside)
            served[sequence.spec.tenant, sequence.spec.priority].append(inside.pop(sequence))
        assert set(queue) == set(inside)
        assert len(queue) == len(inside)
        assert bool(queue) == bool(inside)
    for arrivals in served.values():
        assert arrivals == sorted(arrivals)


def test_a_full_queue_still_takes_a_newcomers_first_request() -> None:
    admission = Admission(slots=2, queue_requests=3, queue_tokens=10_000)
    flood = [waiting("a") for _ in range(5)]
    for sequence in flood:
        admission.check(sequence)
        admission.add(sequence)
    with pytest.raises(ApiError) as refusal:
        admission.check(waiting("a"))
    assert refusal.value.status == 429
    newcomer = waiting("b")
    admission.check(newcomer)
    admission.add(newcomer)
    with pytest.raises(ApiError):
        admission.check(waiting("b"))
    for sequence in (*flood, newcomer):
        admission.remove(sequence)
    assert (admission.requests, admission.tokens, admission.tenants) == (0, 0, 0)


def test_newcomers_cannot_fill_more_than_twice_the_queue() -> None:
    admission = Admission(slots=1, queue_requests=3, queue_tokens=10_000)
    for i in range(8):
        sequence = waiting(f"tenant-{i}")
        admission.check(sequence)
        admission.add(sequence)
    with pytest.raises(ApiError):
        admission.check(waiting("one more"))


def test_an_idle_engine_takes_what_is_larger_than_its_queue() -> None:
    admission = Admission(slots=1, queue_requests=3, queue_tokens=50)
    admission.check(waiting(cost=100))


def test_one_request_of_another_tenant_passes_a_flood(build: BuildEngine) -> None:
    engine = build(slots=1, queue_requests=60)
    order: list[str] = []
    everybody_asked = threading.Event()

    def ask_as(name: str) -> Answer:
        def told(delta: Delta) -> None:
            everybody_asked.wait(60)
            if delta.finish is not None:
                order.append(name)

        return ask(engine, [11] * 40, tenant=name, on_delta=told, max_tokens=40, ignore_eos=True)

    answers = [ask_as("a") for _ in range(50)] + [ask_as("b")]
    everybody_asked.set()
    for answer in answers:
        answer.wait(120)
    assert order.index("b") <= 1 + QUANTUM // 60 + 1, "one had begun, one quantum goes before"


@pytest.mark.parametrize("cached", [True, False], ids=["state kept", "computed again"])
def test_a_wave_of_long_answers_does_not_hold_all_slots(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, cached: bool
) -> None:
    """Steps are counted, not seconds: another tenant waits for one turn, not for the wave."""
    monkeypatch.setattr("avikam.engine.scheduler.TURN", TURN)
    kv = KvOptions(host_bytes=10**7, chunk=16, break_even=4) if cached else None
    engine = engine_by_hand(monkeypatch, model=checkpoint, slots=4, kv=kv)
    sampling: dict[str, Any] = {"max_tokens": 3 * TURN, "temperature": 0.8, "ignore_eos": True}
    wave = [ask(engine, [20 + n] * 9, tenant="a", seed=n, **sampling) for n in range(10)]
    for _ in range(5):
        step(engine)
    other = ask(engine, [11] * 9, tenant="b", seed=3, **sampling)
    steps = 0
    while not other.tokens:
        step(engine)
        steps += 1
    while step(engine):
        pass
    alone = [ask(engine, [20 + n] * 9, tenant="c", seed=n, **sampling) for n in range(10)]
    while step(engine):
        pass
    engine.close()

    assert steps <= TURN + 5
    assert [answer.tokens for answer in wave] == [answer.tokens for answer in alone]
    assert all(len(answer.tokens) == 3 * TURN for answer in (*wave, other))
    assert {answer.finish.prompt_tokens for answer in wave} == {9}


def test_who_is_more_urgent_keeps_its_slot(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.setattr("avikam.engine.scheduler.TURN", TURN)
    engine = engine_by_hand(monkeypatch, model=checkpoint, slots=2, kv=None)
    sampling: dict[str, Any] = {"max_tokens": 2 * TURN, "ignore_eos": True}
    first = [ask(engine, [20 + n] * 9, tenant="a", priority=0, **sampling) for n in range(2)]
    step(engine)
    second = ask(engine, [11] * 9, tenant="b", priority=1, **sampling)
    while step(engine):
        if second.tokens:
            break
    ended = [answer.done.is_set() for answer in first]
    while step(engine):
        pass
    engine.close()

    assert ended == [True, True]
