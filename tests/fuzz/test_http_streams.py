"""Ours beside h11, on the same bytes: never a request that h11 does not see, never another body."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.effort import EXAMPLES
from tests.gateway.http_server.memory import cut, requests_in
from tests.gateway.http_server.second_reader import requests_by_h11
from tests.gateway.http_server.streams import borders, stream

# 10,000 in every run, twice as many with `make fuzz`; each share is a test of its own.
SHARES = 8
STREAMS = max(10_000, EXAMPLES * 4)


@pytest.mark.parametrize("share", range(SHARES))
async def test_no_more_requests_than_h11_sees_and_no_other_bodies(share: int) -> None:
    found = 0
    for seed in range(share, STREAMS, SHARES):
        rng = random.Random(seed)
        data = stream(rng)
        segments = cut(data, borders(rng))

        ours, theirs = await requests_in(segments), requests_by_h11(data)

        assert ours == theirs[: len(ours)], (seed, segments)
        found += len(ours)
    assert found > STREAMS / SHARES / 2, "hardly any of the streams had requests in them"


@pytest.mark.parametrize("share", range(2))
async def test_nor_when_nobody_reads_the_bodies(share: int) -> None:
    """A reply that comes before the body does not make a request of the body either."""
    for seed in range(share, STREAMS // 4, 2):
        rng = random.Random(seed)
        data = stream(rng)

        ours = await requests_in(cut(data, borders(rng)), reads=False)

        # h11 tells of a request once its body is complete, of the last one perhaps never.
        theirs = requests_by_h11(data)
        asked = [(seen.method, seen.target) for seen in ours]
        known = [(seen.method, seen.target) for seen in theirs]
        assert asked[: len(known)] == known[: len(asked)], (seed, data)
        assert len(asked) <= len(known) + 1, (seed, data)
