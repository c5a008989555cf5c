"""A request that kills whoever computes it: found within a few deaths, and innocents go on."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from avikam.gateway.resilience.quarantine import Case, Quarantine, QuarantineRules
from avikam.v1 import generation_pb2, worker_pb2
from tests.gateway.clock import Clock
from tests.gateway.harness import RunningGateway, gateway_to
from tests.worker.harness import eventually, worker_process


def sequence(prompt: str, seed: int = 1) -> worker_pb2.SequenceRequest:
    """What a worker computes from; the seed may be anything."""
    sampling = generation_pb2.SamplingParams(seed=seed, max_tokens=9)
    return worker_pb2.SequenceRequest(
        request_id=str(seed), prompt=generation_pb2.Prompt(text=prompt), sampling=sampling
    )


async def convict(quarantine: Quarantine, request: worker_pb2.SequenceRequest) -> None:
    """Two workers die under a sequence, the second one while it is the only suspect."""
    case = Case()
    assert not quarantine.note_death(case, 0, request)
    await quarantine.enter(case)
    assert quarantine.note_death(case, 0, request)


async def test_what_killed_alone_is_refused_for_a_while_under_any_seed() -> None:
    clock = Clock()
    quarantine = Quarantine(clock)

    await convict(quarantine, sequence("poison"))

    assert quarantine.holds(sequence("poison", seed=2))
    assert not quarantine.holds(sequence("an ordinary one"))
    clock.now += 601
    assert not quarantine.holds(sequence("poison"))


async def test_the_memory_is_bounded() -> None:
    quarantine = Quarantine(Clock(), QuarantineRules(most=2))

    for prompt in ("one", "two", "three"):
        await convict(quarantine, sequence(prompt))

    assert not quarantine.holds(sequence("one"))
    assert quarantine.holds(sequence("two"))
    assert quarantine.holds(sequence("three"))


async def test_a_first_death_after_some_tokens_makes_nobody_a_suspect() -> None:
    quarantine, case = Quarantine(Clock()), Case()

    quarantine.note_death(case, 5, sequence("a"))
    assert not case.suspect
    quarantine.note_death(case, 9, sequence("a"))
    assert case.suspect


def in_lane(cases: list[Case]) -> list[bool]:
    """Who runs in the lane."""
    return [case.in_lane for case in cases]


async def test_suspects_run_one_at_a_time_until_they_have_come_further() -> None:
    quarantine, cases = Quarantine(Clock()), [Case(), Case()]
    for case in cases:
        quarantine.note_death(case, 0, sequence("a"))
    first, second = (asyncio.create_task(quarantine.enter(case)) for case in cases)
    await first
    await asyncio.sleep(0)
    assert not second.done()

    quarantine.progress(cases[0], 3)
    assert in_lane(cases) == [True, False]
    quarantine.progress(cases[0], 4)
    await second
    assert in_lane(cases) == [False, True]


async def test_a_suspect_waits_for_deaths_of_the_same_cause() -> None:
    quarantine, case = Quarantine(time.monotonic, QuarantineRules(moment=0.05)), Case()
    died = time.monotonic()
    quarantine.note_death(case, 0, sequence("a"))

    await quarantine.enter(case)

    assert case.in_lane
    assert time.monotonic() >= died + 0.05


async def test_too_many_suspects_are_none() -> None:
    quarantine = Quarantine(Clock(), QuarantineRules(lane=0))
    case = Case()
    quarantine.note_death(case, 0, sequence("a"))

    await quarantine.enter(case)

    assert not case.in_lane


async def innocent(gateway: RunningGateway, number: int) -> str:
    """A request that must be served whole, whoever dies."""
    return await gateway.text(prompt=f"innocent {number}", max_tokens=60, seed=number)


@pytest.mark.parametrize(("index", "deaths"), [(0, 2), (30, 3)])
async def test_a_poison_takes_few_workers_and_no_innocents_with_it(index: int, deaths: int) -> None:
    plan = f"tpot=4ms,die@{index}~poison"
    async with (
        worker_process(plan=plan) as one,
        worker_process(plan=plan) as two,
        worker_process(plan=plan) as three,
        worker_process(plan=plan) as four,
        gateway_to(one, two, three, four, routing="round_robin") as gateway,
    ):
        wanted = [await innocent(gateway, number) for number in range(4)]
        around = [asyncio.create_task(innocent(gateway, number)) for number in range(4)]

        for _ in range(3):
            reply = await gateway.post("/generate", prompt="poison", max_tokens=60)
            assert reply.json()["error"]["code"] == "request_quarantined"

        assert await asyncio.gather(*around) == wanted
        dead = [w for w in (one, two, three, four) if w.process.returncode is not None]
        assert len(dead) <= deaths


async def test_workers_that_die_together_convict_nobody() -> None:
    plan = "ttft=1s"
    async with (
        worker_process(plan=plan) as one,
        worker_process(plan=plan) as two,
        worker_process(plan=plan) as three,
        gateway_to(one, two, three, routing="round_robin") as gateway,
    ):
        await gateway.ready(3)
        prompt = {"prompt": "Bonjour", "max_tokens": 3}
        asked = [asyncio.create_task(gateway.post("/generate", **prompt)) for _ in range(9)]
        # All are with their workers, and none has a token.
        await eventually(lambda: gateway.metric("sequences_running") == 9)
        for worker in (one, two):
            worker.send(signal.SIGKILL)
        replies = [*await asyncio.gather(*asked), await gateway.post("/generate", **prompt)]

    assert {reply.status_code for reply in replies} == {200}
