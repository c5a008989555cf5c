"""A run: requests start at their times, and every outcome is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from avikam.client import AsyncClient, Retries
from avikam.servebench.arrivals import arrival_times
from avikam.servebench.client import CompletionClient, Outcome


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask of whom, and how often."""

    url: str
    model: str
    prompts: Sequence[str]
    max_tokens: int
    rate: float
    burstiness: float = 1.0
    max_concurrency: int | None = None
    key: str | None = None
    seed: int = 0


async def run(plan: Plan) -> tuple[list[Outcome], float]:
    """Outcomes in order of arrival, and the seconds that all of it took."""
    # A request that is asked again would be two, and its time the sum.
    async with AsyncClient(plan.url, plan.key, timeout=600, retries=Retries(0)) as client:
        asking = CompletionClient(client, plan.model, plan.max_tokens)
        return await _measure(plan, asking)


async def _measure(plan: Plan, client: CompletionClient) -> tuple[list[Outcome], float]:
    rng = random.Random(plan.seed)
    gate = asyncio.Semaphore(plan.max_concurrency) if plan.max_concurrency else None

    async def ask(prompt: str, at: float) -> Outcome:
        await asyncio.sleep(max(0.0, started + at - time.perf_counter()))
        async with gate or contextlib.nullcontext():
            return await client.ask(prompt)

    times = list(arrival_times(len(plan.prompts), plan.rate, plan.burstiness, rng))
    started = time.perf_counter()
    outcomes = await asyncio.gather(
        *(ask(prompt, at) for prompt, at in zip(plan.prompts, times, strict=True))
    )
    return list(outcomes), time.perf_counter() - started
