"""Breaker, window, budget, journal and routing as state machines, on a clock that tests turn."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.gateway.resilience.breaker import POOL_RULES, WORKER_RULES, Breaker, Rules, State
from avikam.gateway.resilience.failures import AttemptError, Kind
from avikam.gateway.resilience.journal import Journal
from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.resilience.watchdog import Watchdog
from avikam.gateway.resilience.window import RollingWindow
from avikam.gateway.routing.hint import Hint
from avikam.gateway.routing.policies import POLICIES
from avikam.v1 import worker_pb2


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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


# The journal


def frame(attempt: int, first: int, *tokens: int) -> worker_pb2.SequenceFrame:
    """A frame whose text names its tokens."""
    text = "".join(f"{token}," for token in tokens)
    return worker_pb2.SequenceFrame(attempt=attempt, first_index=first, token_ids=tokens, text=text)


def journal_in_attempt(number: int) -> Journal:
    """A journal whose sequence is at its n-th attempt."""
    journal = Journal(worker_pb2.SequenceRequest(request_id="a"))
    for _ in range(number):
        journal.next_request()
    return journal


def test_repeats_and_old_attempts_are_dropped() -> None:
    journal = journal_in_attempt(2)

    assert journal.keep(frame(2, 0, 5, 6))
    assert not journal.keep(frame(2, 0, 5, 6))
    assert not journal.keep(frame(2, 1, 6))
    assert not journal.keep(frame(1, 2, 9))
    assert journal.keep(frame(2, 2, 7))

    assert journal.tokens == [5, 6, 7]
    assert journal.whole_text == "5,6,7,"


@pytest.mark.parametrize("first", [1, 3, 100])
def test_a_gap_and_an_overlap_give_the_worker_up(first: int) -> None:
    journal = journal_in_attempt(1)
    journal.keep(frame(1, 0, 5, 6))

    with pytest.raises(AttemptError) as failure:
        journal.keep(frame(1, first, 7, 8, 9))

    assert failure.value.kind is Kind.LOST
    assert journal.tokens == [5, 6]


def test_the_next_attempt_goes_on_with_the_same_noise() -> None:
    journal = journal_in_attempt(1)
    accepted = worker_pb2.Accepted(seed=77, prompt_tokens=3)
    journal.keep(worker_pb2.SequenceFrame(attempt=1, accepted=accepted))
    journal.keep(frame(1, 0, 5, 6))

    request = journal.next_request()

    assert list(request.generated) == [5, 6]
    assert request.sampling.seed == 77
    assert request.attempt == 2


FRAMES = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 30), st.integers(0, 5)), max_size=60)


@given(FRAMES)
def test_whatever_comes_the_journal_has_no_hole_and_no_repeat(
    frames: list[tuple[int, int, int]],
) -> None:
    journal = journal_in_attempt(1)
    for attempt, first, count in frames:
        try:
            journal.keep(frame(attempt, first, *range(first, first + count)))
        except AttemptError:
            journal.next_request()
        assert journal.tokens == list(range(len(journal.tokens)))
        assert journal.whole_text == "".join(f"{token}," for token in journal.tokens)


# The watchdog


@dataclass(eq=False)
class Watched:
    """Something that was heard at a time, and is told when that is too long ago."""

    heard: float
    looks: int = 0

    def check(self, now: float, silence: float) -> bool:
        self.looks += 1
        return now - self.heard <= silence


def test_the_watchdog_looks_at_everything_and_only_once_at_what_has_ended() -> None:
    clock = Clock()
    watchdog = Watchdog(clock, silence=3)
    silent, gone, lively = Watched(clock.now), Watched(clock.now), Watched(clock.now + 2)
    for watched in (silent, gone, lively):
        watchdog.add(watched)
    watchdog.discard(gone)

    clock.now += 3.1
    watchdog.look()
    watchdog.look()

    assert (silent.looks, gone.looks, lively.looks) == (1, 0, 2)


def test_the_watchdog_does_not_take_its_own_standing_still_for_silence() -> None:
    clock = Clock()
    watchdog = Watchdog(clock, silence=3)
    watched = Watched(clock.now)
    watchdog.add(watched)

    clock.now += 20
    watchdog.look(lag=19.75)
    clock.now += 2.5
    watchdog.look()
    assert watched.looks == 2

    clock.now += 0.4
    watchdog.look()
    watchdog.look()
    assert watched.looks == 3


# Routing


@dataclass(frozen=True)
class Candidate:
    """A worker as policies see it."""

    hash: int
    load: int = 0
    slots: int = 8


CANDIDATES = st.lists(
    st.builds(Candidate, st.integers(0, 2**32 - 1), st.integers(0, 10_000), st.integers(0, 64)),
    min_size=1,
    max_size=12,
)
HINTS = st.builds(
    Hint,
    key=st.integers(0, 2**32 - 1),
    cost=st.integers(0, 10_000),
    turn=st.integers(0, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(candidates=CANDIDATES, hint=HINTS)
def test_every_policy_chooses_somebody(name: str, candidates: list[Candidate], hint: Hint) -> None:
    assert POLICIES[name](candidates, hint) in candidates


def some_hint(key: int = 0, turn: int = 0, draw: float = 0.0, cost: int = 10) -> Hint:
    return Hint(key=key, cost=cost, turn=turn, draw=draw)


def test_affinity_keeps_a_prefix_on_its_worker_until_that_has_too_much() -> None:
    choose = POLICIES["affinity"]
    idle = [Candidate(hash=number * 7919) for number in range(4)]
    chosen = {key: choose(idle, some_hint(key)) for key in range(400)}
    shares = [list(chosen.values()).count(worker) for worker in idle]

    assert min(shares) > 50
    fewer = idle[:-1]
    moved = [key for key in chosen if choose(fewer, some_hint(key)) != chosen[key]]
    assert all(chosen[key] == idle[-1] for key in moved)

    hot = Candidate(hash=chosen[0].hash, load=10_000)
    busy = [hot if worker == chosen[0] else worker for worker in idle]
    assert choose(busy, some_hint(0)) != hot


def test_round_robin_takes_turns() -> None:
    workers = [Candidate(hash=number) for number in range(3)]

    turns = [POLICIES["round_robin"](workers, some_hint(turn=turn)).hash for turn in range(6)]

    assert turns == [0, 1, 2, 0, 1, 2]


def test_least_cost_counts_work_per_slot() -> None:
    small, large = Candidate(1, load=100, slots=2), Candidate(2, load=300, slots=32)

    assert POLICIES["least_cost"]([small, large], some_hint()) == large


def test_power_of_two_never_takes_the_worst_and_compares_every_pair() -> None:
    workers = [Candidate(hash=load, load=load) for load in range(5)]

    chosen = [POLICIES["power_of_two"](workers, some_hint(draw=n / 1000)) for n in range(1000)]

    assert {worker.load for worker in chosen} == {0, 1, 2, 3}
    assert sum(worker.load == 0 for worker in chosen) == pytest.approx(400, abs=2)
