"""Routing policies: pure functions of the workers and the request."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.gateway.routing.hint import Hint
from avikam.gateway.routing.policies import POLICIES


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
