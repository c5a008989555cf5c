"""The gateway's benchmark reads replies rightly, or its figures would mean nothing."""

from __future__ import annotations

import itertools

import orjson

from loadtests.gateway.connection import Reply
from loadtests.gateway.figures import request
from loadtests.gateway.load import Outcome, closed_loop, open_loop, percentile
from loadtests.gateway.overload import recovery
from tests.gateway.harness import serving


def replies(*statuses: int, apart: float = 0.1) -> Outcome:
    """Replies to requests that were sent at regular times."""
    sent = itertools.count()
    times = [next(sent) * apart for _ in statuses]
    made = [Reply(s, b"", t, t + 0.01) for s, t in zip(statuses, times, strict=True)]
    return Outcome(made, seconds=len(statuses) * apart)


async def test_both_loops_get_whole_replies() -> None:
    async with serving() as gateway:
        make = request(max_tokens=5)
        closed = await closed_loop(gateway.address, make, connections=3, seconds=0.3)
        opened = await open_loop(gateway.address, make, rate=50, seconds=0.3)

    for outcome in (closed, opened):
        assert outcome.replies
        assert len(outcome.with_status(200)) == len(outcome.replies)
        for reply in outcome.replies:
            assert orjson.loads(reply.body)["usage"]["completion_tokens"] == 5


async def test_a_stream_ends_with_its_last_chunk() -> None:
    async with serving(plan="tpot=1ms") as gateway:
        make = request(max_tokens=20, stream=True)
        outcome = await closed_loop(gateway.address, make, connections=2, seconds=0.2)

    assert all(b"data: [DONE]" in reply.body for reply in outcome.replies)


def test_percentiles_are_of_the_whole() -> None:
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 100.0
    assert percentile([], 0.5) == 0.0


def test_recovery_is_over_after_the_last_bad_second() -> None:
    assert recovery(replies(*[200] * 30)) == 0.0
    assert recovery(replies(*[429] * 5, *[200] * 25)) == 1.0
    assert recovery(replies(*[200] * 15, 429, *[200] * 14)) == 2.0


def test_refused_and_served_are_told_apart() -> None:
    outcome = replies(200, 429, 503, 200)

    assert len(outcome.with_status(200)) == 2
    assert len(outcome.with_status(429, 503)) == 2
