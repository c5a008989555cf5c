"""Idle connections: kept longer than the proxies in front keep theirs, and as long as is set."""

from __future__ import annotations

import asyncio

import pytest

from avikam.gateway.doors.http.server.clock import Clock
from avikam.gateway.settings import GatewaySettings
from tests.gateway.harness import RunningGateway, gateway_at
from tests.gateway.http_server.streams import get

# How long they keep an idle connection to a server, by default: the gateway must not close first.
IN_FRONT = {"nginx": 60, "AWS ALB": 60, "HAProxy": 5, "Node": 5, "httpx": 5}


@pytest.mark.parametrize("seconds", IN_FRONT.values(), ids=IN_FRONT)
def test_the_default_outlives_what_stands_in_front(seconds: int) -> None:
    assert GatewaySettings().keep_alive_seconds > seconds + 10


async def ask(gateway: RunningGateway, *pauses: float) -> tuple[int, bool]:
    """How many of the requests on one connection were answered, and whether it stayed open."""
    reader, writer = await gateway.connect()
    answers = 0
    for pause in (*pauses, 0.0):
        writer.write(get(path=b"/livez"))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        answers += 1
        await asyncio.sleep(pause)
    is_open = not reader.at_eof()
    writer.close()
    return answers, is_open


async def test_an_idle_connection_is_there_after_seconds() -> None:
    """uvicorn's own default would have closed it after five."""
    async with gateway_at(first_worker_seconds=0.1) as gateway:
        assert await ask(gateway, 0.1, 6.0) == (3, True)


async def test_it_is_closed_after_the_seconds_that_are_set() -> None:
    async with gateway_at(keep_alive_seconds=0.2, first_worker_seconds=0.1) as gateway:
        reader, writer = await gateway.connect()
        writer.write(get(path=b"/livez"))
        async with asyncio.timeout(10):
            received = await reader.read()
        writer.close()

        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in received


async def test_the_clock_rings_at_the_time_set_last() -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    clock = Clock(loop, lambda: rung.append(loop.time()))
    begun = loop.time()

    clock.set(60.0)
    clock.set(0.1)
    clock.set(0.2)
    async with asyncio.timeout(10):
        while not rung:
            await asyncio.sleep(0.01)
    assert rung[0] - begun >= 0.2

    clock.set(0.05)
    clock.clear()
    await asyncio.sleep(0.1)
    clock.set(0.05)
    clock.stop()
    await asyncio.sleep(0.1)
    assert len(rung) == 1


async def test_a_head_that_stops_in_its_middle_does_not_get_the_idle_time() -> None:
    async with gateway_at(header_timeout_seconds=0.2, first_worker_seconds=0.1) as gateway:
        reader, writer = await gateway.connect()
        writer.write(get(path=b"/livez") + b"GET /liv")
        async with asyncio.timeout(10):
            received = await reader.read()
        writer.close()

        assert received.count(b"HTTP/1.1 ") == 1
