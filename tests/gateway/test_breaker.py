"""Breaker, window and retry budget as state machines, on a clock that tests turn."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.gateway.resilience.breaker import POOL_RULES, WORKER_RULES, Breaker, Rules, State
from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.resilience.window import RollingWindow
from avikam.gateway.routing.policies import POLICIES
from avikam.gateway.workers.pool import Pool
from tests.gateway.clock import Clock


class Middle(random.Random):
    """A generator without jitter: always the middle of the range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def breaker_on(clock: Clock, rules: Rules = POOL_RULES) -> Breaker:
    """A breaker whose open time is exact."""
    return Breaker(rules, clock, Middle())


def state_of(breaker: Breaker) -> State:
    """Asked anew each time: it changes between two lines."""
    return breaker.state


def outcomes(breaker: Breaker, good: int = 0, bad: int = 0) -> None:
    """Requests that came and ended, good ones first."""
    for ok in [True] * good + [False] * bad:
        ticket = breaker.enter()
        assert ticket is not None
        breaker.record(ticket, ok)


def test_the_pool_breaker_opens_above_a_fifth_of_fifty() -> None:
    breaker = breaker_on(Clock())

    outcomes(breaker, good=40, bad=10)
    assert state_of(breaker) is State.CLOSED

    outcomes(breaker, bad=1)
    assert state_of(breaker) is State.OPEN
    assert breaker.enter() is None


def test_few_outcomes_open_nothing() -> None:
    breaker = breaker_on(Clock())

    outcomes(breaker, bad=49)

    assert state_of(breaker) is State.CLOSED


def test_outcomes_older_than_the_window_are_forgotten() -> None:
    clock = Clock()
    breaker = breaker_on(clock)

    outcomes(breaker, bad=40)
    clock.now += 11
    outcomes(breaker, good=45, bad=9)

    assert state_of(breaker) is State.CLOSED


def test_a_worker_breaker_opens_after_five_failures_in_a_row() -> None:
    breaker = breaker_on(Clock(), WORKER_RULES)

    outcomes(breaker, bad=4)
    outcomes(breaker, good=1)
    outcomes(breaker, bad=4)
    assert state_of(breaker) is State.CLOSED

    outcomes(breaker, bad=1)
    assert state_of(breaker) is State.OPEN


def test_a_worker_that_fails_alone_is_left_sooner_than_its_window_says() -> None:
    alone = Breaker(WORKER_RULES, Clock(), Middle(), peers_well=lambda: True)
    like_the_others = Breaker(WORKER_RULES, Clock(), Middle(), peers_well=lambda: False)
    for breaker in (alone, like_the_others):
        outcomes(breaker, good=100, bad=1)
        outcomes(breaker, good=2, bad=1)
        assert state_of(breaker) is State.CLOSED
        outcomes(breaker, good=2, bad=1)

    assert state_of(alone) is State.OPEN
    assert state_of(like_the_others) is State.CLOSED


def test_rare_failures_of_a_worker_alone_open_nothing() -> None:
    breaker = Breaker(WORKER_RULES, Clock(), Middle(), peers_well=lambda: True)

    for _ in range(100):
        outcomes(breaker, good=7, bad=1)

    assert state_of(breaker) is State.CLOSED


async def test_peers_are_well_when_they_had_work_and_hardly_failed() -> None:
    pool = Pool(POLICIES["round_robin"], Clock(), Middle())
    grey, *peers = [pool.add(f"127.0.0.1:{port}").breaker for port in range(1, 4)]
    try:
        outcomes(grey, bad=3)
        assert grey.state is State.CLOSED, "nobody knows how the others do"
        for peer in peers:
            outcomes(peer, good=20)
        outcomes(grey, bad=1)
        assert state_of(grey) is State.OPEN

        outcomes(peers[0], bad=3)
        assert peers[0].state is State.OPEN
        outcomes(peers[1], good=3, bad=3)
        assert peers[1].state is State.CLOSED, "nobody is left to compare it with"
    finally:
        for worker in pool:
            await worker.close()


def half_open(clock: Clock) -> Breaker:
    """A breaker that tripped and whose time is up."""
    breaker = breaker_on(clock)
    breaker.trip()
    clock.now += 5
    assert state_of(breaker) is State.HALF_OPEN
    return breaker


def test_five_probes_and_no_more_decide() -> None:
    breaker = half_open(Clock())

    tickets = [breaker.enter() for _ in range(6)]
    assert [ticket is not None for ticket in tickets] == [True] * 5 + [False]

    for ticket in tickets[:4]:
        assert ticket is not None
        assert state_of(breaker) is State.HALF_OPEN
        breaker.record(ticket, True)
    assert state_of(breaker) is State.CLOSED


def test_a_second_failed_probe_opens_for_twice_as_long() -> None:
    clock = Clock()
    breaker = half_open(clock)

    outcomes(breaker, good=1, bad=2)

    assert state_of(breaker) is State.OPEN
    assert breaker.retry_after() == pytest.approx(10)
    clock.now += 9.9
    assert state_of(breaker) is State.OPEN
    clock.now += 0.2
    assert state_of(breaker) is State.HALF_OPEN


def test_the_open_time_has_an_end() -> None:
    clock = Clock()
    breaker = breaker_on(clock)
    waits = []
    for _ in range(6):
        breaker.trip()
        waits.append(breaker.retry_after())
        clock.now += waits[-1]
        assert state_of(breaker) is State.HALF_OPEN

    assert waits == pytest.approx([5, 10, 20, 40, 60, 60])


def test_a_probe_that_was_released_may_be_made_again() -> None:
    breaker = half_open(Clock())
    for _ in range(20):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.release(ticket)

    assert state_of(breaker) is State.HALF_OPEN


def test_probes_that_never_end_count_as_failed() -> None:
    clock = Clock()
    breaker = half_open(clock)
    for _ in range(5):
        breaker.enter()

    clock.now += WORKER_RULES.probe_timeout

    assert state_of(breaker) is State.OPEN


def test_outcomes_of_an_earlier_epoch_say_nothing() -> None:
    breaker = breaker_on(Clock(), WORKER_RULES)
    old = [breaker.enter() for _ in range(10)]
    breaker.trip()
    opened_until = breaker.retry_after()

    for ticket in old:
        assert ticket is not None
        breaker.record(ticket, False)

    assert breaker.retry_after() == opened_until


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["enter", "good", "bad", "release", "trip"]),
        st.floats(min_value=0, max_value=40),
    ),
    max_size=120,
)


@given(STEPS)
def test_a_breaker_never_sticks_and_never_probes_too_much(steps: list[str | float]) -> None:
    clock = Clock()
    breaker = breaker_on(clock, WORKER_RULES)
    tickets = []
    for step in steps:
        if isinstance(step, float):
            clock.now += step
        elif step == "enter":
            permitted = breaker.permits()
            ticket = breaker.enter()
            assert (ticket is not None) == permitted
            tickets += [ticket] if ticket is not None else []
        elif step == "trip":
            breaker.trip()
        elif tickets:
            ticket = tickets.pop(0)
            if step == "release":
                breaker.release(ticket)
            else:
                breaker.record(ticket, step == "good")
        assert len(breaker._probes) <= WORKER_RULES.probes
        if breaker.state is State.OPEN:
            assert 1 <= breaker.retry_after() <= WORKER_RULES.max_open_time * 1.2

    clock.now += 200  # whatever happened, time and good answers close it
    while state_of(breaker) is not State.CLOSED:
        clock.now += 100
        if breaker.state is State.HALF_OPEN:
            outcomes(breaker, good=WORKER_RULES.probes - 1)
    assert breaker.enter() is not None


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=15), st.booleans()), max_size=80))
def test_a_window_counts_what_is_not_older_than_it(events: list[tuple[float, bool]]) -> None:
    clock = Clock()
    window = RollingWindow(clock, seconds=10, buckets=10)
    seen: list[tuple[int, bool]] = []
    for pause, ok in events:
        clock.now += pause
        window.add(ok)
        seen.append((int(clock.now), ok))
        recent = [good for second, good in seen if int(clock.now) - second < 10]
        assert (window.good, window.bad) == (recent.count(True), recent.count(False))


def test_a_budget_is_a_tenth_of_the_requests_and_at_least_ten() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]

    for _ in range(300):
        budget.count_request()
    assert budget.remaining == 20

    clock.now += 11
    assert budget.remaining == 10


def test_a_warned_breaker_needs_fewer_outcomes_for_a_while() -> None:
    clock = Clock()
    breaker = breaker_on(clock)
    breaker.warn(2.0)
    outcomes(breaker, good=7, bad=2)
    assert state_of(breaker) is State.CLOSED
    outcomes(breaker, bad=1)
    assert state_of(breaker) is State.OPEN

    late = breaker_on(clock)
    late.warn(2.0)
    clock.now += 2.0
    outcomes(late, good=30, bad=19)
    assert state_of(late) is State.CLOSED


def test_the_budget_tells_of_every_charged_retry() -> None:
    taken: list[int] = []
    budget = RetryBudget(Clock(), on_take=lambda: taken.append(1))

    assert [budget.take() for _ in range(12)] == [True] * 10 + [False] * 2
    assert len(taken) == 10
