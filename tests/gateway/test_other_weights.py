"""An answer never changes its weights in the middle: it goes on under the same, or says why not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from tests.gateway.harness import RunningGateway, Stream, gateway_at
from tests.worker.harness import LOOPBACK, RunningWorker, eventually, free_port, running_worker

LONG = {"prompt": "Bonjour", "max_tokens": 200, "seed": 1, "ignore_eos": True}


@contextlib.asynccontextmanager
async def worker(numerics: str = "", **settings: Any) -> AsyncIterator[RunningWorker]:
    """A worker of the fake engine, whose weights are others where a word for them is given."""
    async with running_worker(plan="tpot=10ms", **settings) as running:
        if numerics:
            engine: Any = running.engine
            engine._model = replace(engine.model, numerics=numerics)
        yield running


@contextlib.asynccontextmanager
async def streaming(
    gateway: RunningGateway, old: RunningWorker
) -> AsyncIterator[asyncio.Task[Stream]]:
    """A long answer that has begun on the old worker."""
    stream = asyncio.create_task(gateway.stream(**LONG))
    before = gateway.metric("generated_tokens_total")
    await eventually(lambda: gateway.metric("generated_tokens_total") > before + 5)
    assert old.engine.stats().slots_used == 1
    yield stream


async def test_where_only_other_weights_are_left_the_stream_says_so_at_once() -> None:
    port = free_port()
    async with (
        worker() as old,
        gateway_at(old.address, f"{LOOPBACK}:{port}", same_weights_seconds=0.5) as gateway,
    ):
        await gateway.ready()
        async with streaming(gateway, old) as stream, worker("int8", port=port):
            await gateway.ready(2)
            began = time.monotonic()
            await old.server.stop()
            broken = await stream

            assert time.monotonic() - began < 60, "its deadline is 300 s away"
            assert broken.error is not None
            assert broken.error["code"] == "model_changed"
            assert not broken.done
            assert gateway.server.gateway.breaker.outcomes()[1] == 0
            assert await gateway.text(prompt="Salut", max_tokens=3)


async def test_the_same_weights_go_on_where_others_are_ready_too() -> None:
    ports = free_port(), free_port()
    async with worker() as old:
        addresses = (old.address, *(f"{LOOPBACK}:{port}" for port in ports))
        async with gateway_at(*addresses, same_weights_seconds=0.5) as gateway:
            await gateway.ready()
            whole = await gateway.stream(**LONG)
            async with (
                streaming(gateway, old) as stream,
                worker("int8", port=ports[0]) as other,
                worker(port=ports[1]),
            ):
                await gateway.ready(3)
                await old.server.stop()
                continued = await stream

                assert continued.text == whole.text
                assert continued.done
                assert gateway.metric("midstream_resumes_total", outcome="done") == 1
                assert other.engine.stats().step == 0


async def test_a_worker_that_drains_finishes_what_no_other_could() -> None:
    port = free_port()
    async with (
        worker(drain_seconds=60.0) as old,
        gateway_at(old.address, f"{LOOPBACK}:{port}", same_weights_seconds=0.5) as gateway,
    ):
        await gateway.ready()
        async with streaming(gateway, old) as stream, worker("int8", port=port) as new:
            await gateway.ready(2)
            draining = asyncio.create_task(old.server.drain())
            await eventually(lambda: len(gateway.server.gateway.pool.ready) == 1)
            assert await gateway.text(prompt="Salut", max_tokens=3)

            finished = await stream

            await draining
            assert finished.done
            assert finished.error is None
            assert new.engine.stats().step > 0


async def test_a_started_answer_waits_for_its_weights_while_nobody_is_ready() -> None:
    """All have died, and come back as they were: nobody is told that the model has changed."""
    port = free_port()
    async with gateway_at(f"{LOOPBACK}:{port}", same_weights_seconds=0.2) as gateway:
        async with worker(port=port) as old:
            await gateway.ready()
            whole = await gateway.stream(**LONG)
            stream = asyncio.create_task(gateway.stream(**LONG))
            await eventually(lambda: old.engine.stats().slots_used == 1)
            await asyncio.sleep(0.2)
            await old.server.stop()
        await asyncio.sleep(1.0)
        async with worker(port=port):
            assert (await stream).text == whole.text
