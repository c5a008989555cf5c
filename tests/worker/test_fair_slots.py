"""One tenant's wave of long answers does not make another tenant wait for its end."""

from __future__ import annotations

import asyncio
import time

from avikam.engine import fake_text
from avikam.v1 import worker_pb2
from tests.worker.harness import OpenStream, running_worker, sequence_request

SLOTS, LENGTH = 4, 400


def asked(tenant: str, seed: int) -> worker_pb2.SequenceRequest:
    """A long answer for a tenant."""
    request = sequence_request(request_id=f"{tenant}-{seed}", max_tokens=LENGTH, seed=seed)
    request.tenant = tenant
    return request


async def test_another_tenant_starts_before_the_first_of_a_wave_has_ended() -> None:
    ends: list[tuple[float, str]] = []
    async with running_worker(plan="tpot=2ms", slots=SLOTS) as worker:

        async def run(tenant: str, seed: int) -> list[int]:
            answer = await OpenStream(worker.stub, asked(tenant, seed)).rest()
            ends.append((time.monotonic(), tenant))
            return answer.tokens

        wave = [asyncio.create_task(run("a", seed)) for seed in range(5 * SLOTS)]
        while worker.engine.stats().slots_used < SLOTS:
            await asyncio.sleep(0.01)
        other = asyncio.create_task(run("b", 99))
        answers = await asyncio.gather(*wave)
        alone = await other
        slots_used = worker.engine.stats().slots_used

    order = [tenant for _, tenant in sorted(ends)]
    assert order.index("b") <= 2 * SLOTS, "it shared the slots from the first turn on"
    assert alone == fake_text.answer(99, 0, LENGTH)
    assert answers == [fake_text.answer(seed, 0, LENGTH) for seed in range(5 * SLOTS)]
    assert slots_used == 0
