"""Whom a failure is held against: a worker that others do better, never what a request asks for."""

from __future__ import annotations

import asyncio

import pytest

from avikam.v1 import generation_pb2 as pb
from tests.gateway.harness import RunningGateway, gateway_to
from tests.gateway.liar import Start, accepted, ended, lying_worker, tokens
from tests.worker.harness import running_worker

# More than opens any breaker.
MANY = 60


def states(gateway: RunningGateway) -> set[str]:
    """Of the breakers of workers and pool."""
    breakers = [member.breaker for member in gateway.server.gateway.pool]
    return {breaker.state.value for breaker in (*breakers, gateway.server.gateway.breaker)}


async def statuses(gateway: RunningGateway, count: int = MANY) -> list[int]:
    """Of so many requests."""
    asked = (gateway.post("/generate", prompt="Bonjour", max_tokens=2) for _ in range(count))
    return [reply.status_code for reply in await asyncio.gather(*asked)]


async def test_a_500_that_another_worker_does_better_counts_against_the_first() -> None:
    async with (
        running_worker() as sound,
        lying_worker(lambda start: [ended(start, 500)]) as failing,
        gateway_to(failing, sound, routing="round_robin") as gateway,
    ):
        assert set(await statuses(gateway, 15)) == {200}

        members = {member.address: member.breaker for member in gateway.server.gateway.pool}
        assert members[failing.address].state.value == "open"
        assert members[sound.address].state.value == "closed"
        assert gateway.server.gateway.breaker.state.value == "closed"


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 504, 507])
async def test_what_every_worker_says_of_a_request_counts_against_nobody(status: int) -> None:
    def answer(start: Start) -> list[object]:
        return [accepted(start), ended(start, status)]

    async with (
        lying_worker(answer) as first,
        lying_worker(answer) as second,
        gateway_to(first, second, routing="round_robin") as gateway,
    ):
        assert set(await statuses(gateway)) == {status}
        assert states(gateway) == {"closed"}


async def test_rows_that_cannot_be_computed_count_against_nobody() -> None:
    def answer(start: Start) -> list[object]:
        error = pb.FINISH_REASON_ERROR
        finish = {"reason": error, "error": "the logits are not numbers"}
        return [accepted(start), tokens(start, [65], finish=finish)]

    async with lying_worker(answer) as worker, gateway_to(worker) as gateway:
        assert set(await statuses(gateway)) == {500}
        assert states(gateway) == {"closed"}


async def test_deadlines_count_against_nobody_whoever_chose_them() -> None:
    async with (
        running_worker(plan="tpot=100ms") as worker,
        gateway_to(worker, request_timeout_seconds=0.5) as gateway,
    ):
        asked = (gateway.post("/generate", prompt="a", max_tokens=500) for _ in range(MANY))
        replies = await asyncio.gather(*asked)

        assert {reply.status_code for reply in replies} <= {429, 504}
        assert states(gateway) == {"closed"}
