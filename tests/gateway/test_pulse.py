"""A worker whose process answers late is passed over while others are not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from grpc import aio

from avikam.gateway.workers.pulse import Pulse, judge
from tests.faults.chaos_proxy import ChaosProxy
from tests.gateway.clock import Clock
from tests.gateway.harness import gateway_at
from tests.worker.harness import eventually, running_worker


@dataclass(eq=False)
class Asked:
    """A worker that nobody connects to."""

    pulse: Pulse
    channel: aio.Channel
    late: bool = False


def answered_after(clock: Clock, *seconds: float) -> list[Asked]:
    """Workers whose last answers took so long."""
    workers = [Asked(Pulse(clock), None) for _ in seconds]
    for worker, took in zip(workers, seconds, strict=True):
        began = clock.now
        worker.pulse.ask()
        clock.now += took
        worker.pulse.answered()
        clock.now = began
    clock.now += max(seconds)
    return workers


def late(workers: list[Asked]) -> list[bool]:
    judge(workers)
    return [worker.late for worker in workers]


def test_late_is_above_fifty_milliseconds_and_four_times_the_others() -> None:
    assert late(answered_after(Clock(), 0.002, 0.001, 0.04)) == [False] * 3
    assert late(answered_after(Clock(), 0.002, 0.001, 0.2)) == [False, False, True]
    assert late(answered_after(Clock(), 0.2, 0.3, 0.25)) == [False] * 3
    assert late(answered_after(Clock(), 0.001, 0.2)) == [False, True]


def test_a_question_that_is_open_counts_before_its_answer() -> None:
    clock = Clock()
    workers = answered_after(clock, 0.001, 0.001)
    workers[1].pulse.ask()

    clock.now += 0.04
    assert late(workers) == [False, False]
    clock.now += 0.02
    assert late(workers) == [False, True]


def test_a_late_answer_is_remembered_for_seconds_and_then_forgotten() -> None:
    clock = Clock()
    workers = answered_after(clock, 0.001, 2.0)
    assert workers[1].pulse.seconds == pytest.approx(0.15)

    clock.now += 10
    assert late(workers) == [False, True]
    clock.now += 2
    assert late(workers) == [False, False]


async def test_requests_go_to_the_workers_that_answer_in_time() -> None:
    async with (
        running_worker() as quick,
        running_worker() as slow,
        ChaosProxy(slow.address) as proxy,
        gateway_at(quick.address, proxy.address, routing="round_robin") as gateway,
    ):
        await gateway.ready(2)
        for _ in range(4):
            await gateway.text(prompt="Bonjour", max_tokens=2)
        taken = slow.engine.stats().step
        proxy.up.latency = 1.0
        await eventually(lambda: gateway.metric("workers_late") == 1)
        before = slow.engine.stats().step

        for _ in range(4):
            await gateway.text(prompt="Bonjour", max_tokens=2)
        taken_late = slow.engine.stats().step - before

    assert taken > 0
    assert taken_late == 0
