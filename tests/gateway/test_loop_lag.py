"""A gateway that cannot keep up refuses new work before everybody's answers get slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from avikam.gateway.resilience.loop_lag import LoopLag
from tests.gateway.harness import serving

ASKED: dict[str, Any] = {"prompt": "Bonjour", "max_tokens": 4}


def after(delays: Sequence[float], limit: float = 0.25) -> LoopLag:
    lag = LoopLag(limit)
    for delay in delays:
        lag.note(delay)
    return lag


@pytest.mark.parametrize(
    ("delays", "busy"),
    [
        ([], False),
        ([0.9] * 3, False),  # too few to tell a burst from load
        ([0.3] * 6, True),
        ([0.25] * 6, False),
        ([0.9, 0.9, 0.01, 0.9, 0.9, 0.9], False),  # once it kept up: a burst
        ([0.01] * 6 + [2.0], False),  # one long pause
        ([0.9] * 6 + [0.0], False),  # over
        ([0.01] * 9 + [0.3] * 6, True),
        ([-1.0] * 6, False),  # a timer that fires early is not late
    ],
)
def test_only_delays_that_last_are_load(delays: list[float], busy: bool) -> None:
    lag = after(delays)

    refusal = lag.refusal()

    assert (refusal is not None) == busy
    if refusal is not None:
        assert (refusal.status, refusal.code) == (503, "gateway_busy")
        assert refusal.retry_after == 1.0


def test_without_a_limit_nothing_is_refused() -> None:
    assert after([60.0] * 6, limit=0).refusal() is None


async def test_a_gateway_that_is_behind_answers_probes_and_refuses_work() -> None:
    async with serving(max_loop_lag_ms=100) as gateway:
        hog = asyncio.create_task(hold_the_loop(0.2))
        try:
            async with asyncio.timeout(60):
                while (reply := await gateway.post("/generate", **ASKED)).status_code != 503:
                    await asyncio.sleep(0)
            probe = await gateway.get("/livez")
        finally:
            hog.cancel()
        assert reply.json()["error"]["code"] == "gateway_busy"
        assert reply.headers["retry-after"] == "1"
        assert probe.status_code == 200

        async with asyncio.timeout(60):
            while (await gateway.post("/generate", **ASKED)).status_code != 200:
                await asyncio.sleep(0.05)

        assert gateway.metric("shed_total", reason="gateway_busy") >= 1
        assert gateway.metric("loop_lag_seconds_count") > 0


async def hold_the_loop(seconds: float) -> None:
    """Keep the loop busy for so long in each of its turns."""
    while True:
        time.sleep(seconds)  # noqa: ASYNC251 - the fault itself
        await asyncio.sleep(0)
