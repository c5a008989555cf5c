"""Many at once get what each gets alone."""

from __future__ import annotations

import asyncio
import random

from tests.gateway.harness import serving


async def test_sixty_four_streams_are_what_each_gives_alone() -> None:
    rng = random.Random(2)
    lengths = [rng.choice([1, 7, 40, 120, 300]) for _ in range(64)]
    async with serving(plan="tpot=100us", worker={"slots": 16}) as gateway:

        async def ask(seed: int) -> str:
            stream = await gateway.stream(
                prompt=f"Bonjour {seed}", max_tokens=lengths[seed], seed=seed
            )
            assert stream.done
            assert stream.finish_reason == "length"
            return stream.text

        together = await asyncio.gather(*(ask(seed) for seed in range(64)))
        alone = [
            await gateway.text(prompt=f"Bonjour {seed}", max_tokens=lengths[seed], seed=seed)
            for seed in range(64)
        ]

    assert together == alone


async def test_a_queue_that_is_full_says_when_to_come_again() -> None:
    worker = {"slots": 1, "queue_requests": 0}
    async with serving(plan="tpot=5ms", worker=worker, queue_requests=2) as gateway:
        asked = (gateway.post("/generate", prompt="a", max_tokens=20) for _ in range(8))
        replies = await asyncio.gather(*asked)

        statuses = [reply.status_code for reply in replies]
        refused = [reply for reply in replies if reply.status_code == 429]
        assert sorted(statuses) == [200] * 3 + [429] * 5
        for reply in refused:
            assert reply.headers["retry-after"] == "1"
            assert reply.json()["error"]["type"] == "rate_limit_error"
