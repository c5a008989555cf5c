"""One tenant's grammars take long to compile: its own requests wait, and nobody else's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from avikam.protocol.sampling import SamplingParams
from tests.gateway.harness import gateway_to
from tests.worker.harness import running_worker

# The gateway gives up an engine that is silent for so long.
SILENCE = 1.5


async def test_a_compile_that_is_longer_than_the_watchdogs_patience_harms_no_other() -> None:
    async with (
        running_worker() as worker,
        gateway_to(worker, heartbeat_seconds=SILENCE) as gateway,
    ):
        engine: Any = worker.engine

        def slow(sampling: SamplingParams) -> None:
            time.sleep(2 * SILENCE)

        engine.prepared, engine.prepare = (lambda sampling: False), slow
        began = time.monotonic()
        bound = [
            asyncio.create_task(gateway.post("/generate", prompt="a", max_tokens=2, regex=f"b{n}"))
            for n in range(2)
        ]
        free = []
        while not all(task.done() for task in bound):
            reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=2)
            free.append(reply.status_code)
            await asyncio.sleep(0.05)

        assert set(free) == {200}
        # Each lives until the engine takes its sequence; the one of tests has no grammars.
        replies = [await task for task in bound]
        assert [reply.status_code for reply in replies] == [400, 400]
        assert time.monotonic() - began > 4 * SILENCE, "the second one waited for the first"
        (member,) = gateway.server.gateway.pool
        assert member.breaker.outcomes()[1] == 0
        assert gateway.server.gateway.breaker.outcomes()[1] == 0
        assert gateway.metric("attempts_failed_total", kind="silent") == 0
