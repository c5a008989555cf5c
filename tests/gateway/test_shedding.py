"""Too much work: what waits is bounded in number and in time, and the rest is refused unread."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from avikam.gateway.admission.admission import Admission, AdmissionLimits
from avikam.protocol.errors import ApiError
from tests.gateway.clock import Clock
from tests.gateway.harness import serving
from tests.worker.harness import eventually


async def waiting(admission: Admission, count: int) -> list[asyncio.Task[None]]:
    """So many sequences in the queue."""
    tasks = [asyncio.create_task(admission.enter("t", 1, 1e9)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Let nobody wait any more."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_who_would_wait_too_long_is_refused_and_told_how_long() -> None:
    clock = Clock()
    admission = Admission(lambda: 1, AdmissionLimits(turn=10.0), clock)
    await admission.enter("t", 1, 1e9)
    tasks = await waiting(admission, 30)
    assert admission.refusal() is None

    for _ in range(10):
        clock.now += 0.5
        admission.leave()
        await asyncio.sleep(0)
    # Two a second, and twenty wait: just what may be waited.
    assert admission.expected_wait() == pytest.approx(10.0)
    assert admission.refusal() is None
    assert admission.refusal(patience=5.0) is not None

    more = await waiting(admission, 1)
    problem = admission.refusal()
    assert problem is not None
    assert (problem.status, problem.code, problem.retry_after) == (429, "overloaded", 10.0)
    with pytest.raises(ApiError):
        await admission.enter("t", 1, 1e9)
    await cancel([*tasks, *more])


async def test_after_a_pause_the_old_pace_says_nothing() -> None:
    clock = Clock()
    admission = Admission(lambda: 1, AdmissionLimits(turn=10.0), clock)
    await admission.enter("t", 1, 1e9)
    admission.leave()
    clock.now += 9.5
    await admission.enter("t", 1, 1e9)

    tasks = await waiting(admission, 500)
    clock.now += 0.4

    assert admission.refusal() is None
    await cancel(tasks)


async def test_a_full_queue_refuses_before_a_body_is_parsed() -> None:
    worker = {"slots": 1, "queue_requests": 0}
    async with serving(plan="tpot=50ms", worker=worker, queue_requests=1) as gateway:
        admission = gateway.server.gateway.admission
        asked = [
            asyncio.create_task(gateway.post("/generate", prompt="a", max_tokens=1000))
            for _ in range(2)
        ]
        await eventually(lambda: admission.running + admission.waiting == 2)

        reply = await gateway.send("/generate", b"{not JSON")
        listed = await gateway.get("/v1/models")

        assert reply.status_code == 429
        assert reply.json()["error"]["code"] == "overloaded"
        assert int(reply.headers["retry-after"]) >= 1
        assert listed.status_code == 200
        assert gateway.metric("shed_total", reason="overloaded") == 1
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await gateway.idle()
