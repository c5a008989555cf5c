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
    assert admission.refusal("t") is None

    for _ in range(10):
        clock.now += 0.5
        admission.leave()
        await asyncio.sleep(0)
    # Two a second, and twenty wait: just what may be waited.
    assert admission.expected_wait("t") == pytest.approx(10.0)
    assert admission.refusal("t") is None
    assert admission.refusal("t", patience=5.0) is not None

    more = await waiting(admission, 1)
    problem = admission.refusal("t")
    assert problem is not None
    assert (problem.status, problem.code, problem.retry_after) == (429, "overloaded", 10.0)
    with pytest.raises(ApiError):
        await admission.enter("t", 1, 1e9)
    await cancel([*tasks, *more])


async def test_a_full_queue_has_room_for_who_has_less_than_its_share() -> None:
    admission = Admission(lambda: 1, AdmissionLimits(requests=4), Clock())
    await admission.enter("noisy", 1, 1e9)
    noisy = [asyncio.create_task(admission.enter("noisy", 1, 1e9)) for _ in range(4)]
    await asyncio.sleep(0)
    assert admission.refusal("noisy") is not None
    assert admission.refusal("quiet") is None

    quiet = [asyncio.create_task(admission.enter("quiet", 1, 1e9)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    # The newest gave way, and half of the queue is all that anyone gets by that.
    assert [task.done() for task in noisy] == [False, False, True, True]
    assert {refused(task) for task in noisy[2:]} == {429}
    assert admission.refusal("quiet") is not None
    assert (admission.waiting, admission.running) == (4, 1)
    for _ in range(5):
        admission.leave()
        await asyncio.sleep(0)
    assert (admission.waiting, admission.running) == (0, 0)
    await asyncio.gather(*noisy[:2], *quiet)


async def test_so_it_is_with_tokens_and_with_the_wait() -> None:
    clock = Clock()
    admission = Admission(lambda: 1, AdmissionLimits(tokens=1000, turn=10.0), clock)
    await admission.enter("noisy", 1, 1e9)
    noisy = [asyncio.create_task(admission.enter("noisy", 30, 1e9)) for _ in range(33)]
    await asyncio.sleep(0)

    quiet = asyncio.create_task(admission.enter("quiet", 400, 1e9))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(task.done() for task in noisy) == 13
    assert admission.refusal("quiet", cost=200) is not None

    clock.now += 2.0
    admission.leave()
    # One sequence in two seconds: twenty before the noisy one's next, two before another's.
    assert admission.refusal("noisy") is not None
    assert admission.refusal("third") is None
    await cancel([task for task in (*noisy, quiet) if not task.done()])


def refused(task: asyncio.Task[None]) -> int:
    """The status of a task that was refused."""
    error = task.exception()
    assert isinstance(error, ApiError)
    return error.status


async def test_a_request_that_has_begun_only_waits() -> None:
    admission = Admission(lambda: 1, AdmissionLimits(requests=1), Clock())
    await admission.enter("t", 1, 1e9)
    tasks = await waiting(admission, 1)

    with pytest.raises(ApiError):
        await admission.enter("t", 1, 1e9)
    begun = asyncio.create_task(admission.enter("t", 1, 1e9, begun=True))
    await asyncio.sleep(0)

    assert admission.waiting == 2
    await cancel([*tasks, begun])


async def test_a_batch_that_has_begun_is_finished_under_overload() -> None:
    """Others fill the queue each time one of its many prompts ends."""
    worker = {"slots": 1, "queue_requests": 0}
    settings = {"queue_requests": 1, "batch_concurrency": 1}
    async with serving(plan="tpot=2ms", worker=worker, **settings) as gateway:
        batch = asyncio.create_task(
            gateway.post("/generate", prompt=["a"] * 20, max_tokens=5, seed=1)
        )
        admission = gateway.server.gateway.admission
        await eventually(lambda: admission.running == 1)
        refusals = 0
        while not batch.done():
            others = [gateway.post("/generate", prompt="b", max_tokens=5) for _ in range(4)]
            replies = await asyncio.gather(*others)
            refusals += sum(reply.status_code == 429 for reply in replies)

    assert refusals > 20
    assert batch.result().status_code == 200, batch.result().text
    assert len(batch.result().json()["choices"]) == 20


async def test_after_a_pause_the_old_pace_says_nothing() -> None:
    clock = Clock()
    admission = Admission(lambda: 1, AdmissionLimits(turn=10.0), clock)
    await admission.enter("t", 1, 1e9)
    admission.leave()
    clock.now += 9.5
    await admission.enter("t", 1, 1e9)

    tasks = await waiting(admission, 500)
    clock.now += 0.4

    assert admission.refusal("t") is None
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
