"""F36-F38, F43: clients that leave, do not read, send drop by drop, or ask again at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator

from tests.faults.cluster import PACE, Layout
from tests.faults.drill import Drill, Stage, Z, percentile
from tests.faults.streams import End
from tests.worker.harness import LOOPBACK

_MIB = 2**20
_SILENT = 32


async def leaving(stage: Stage) -> None:
    """Every client hangs up at a random token; in the end the slots are free."""
    stage.load.leave_after = lambda rng: rng.randrange(1, stage.load.tokens)
    await stage.sleep(12)
    stage.load.leave_after = lambda rng: None
    left = [answer for answer in stage.load.answers if answer.end is End.LEFT]
    await stage.load.stop()
    freed = time.monotonic()
    while await stage.cluster.slots_used():
        await asyncio.sleep(0.02)
    stage.figures |= {"left": len(left), "freed_s": time.monotonic() - freed}


async def not_reading(stage: Stage) -> None:
    """Clients with tiny windows ask for more than a kernel buffers, and read nothing."""
    gateway = stage.cluster.gateway.usage()
    before = gateway.memory_info().rss
    calm = percentile([a.longest_gap() for a in stage.load.answers], 99)
    sockets = [await _silent_client(stage) for _ in range(_SILENT)]
    peak = before
    until = time.monotonic() + 14
    while time.monotonic() < until:
        peak = max(peak, gateway.memory_info().rss)
        await asyncio.sleep(0.1)
    during = stage.answers(since=stage.struck_at)
    worse = percentile([a.longest_gap() for a in during], 99) / calm if calm else 0.0
    stage.figures["kib_of_each"] = (peak - before) / 1024 / len(sockets)
    stage.figures["others_gap_ratio"] = worse
    stage.figures["not_cut"] = sum([not await _was_cut(each) for each in sockets])
    for each in sockets:
        each.close()


async def _silent_client(stage: Stage) -> socket.socket:
    """A connection that has sent its request and will never read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (LOOPBACK, stage.cluster.gateway.port))
    body = json.dumps(
        {"prompt": "x", "max_tokens": 2000, "stream": True, "logprobs": 20, "seed": 1}
    )
    head = f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    await loop.sock_sendall(connection, (head + body).encode())
    return connection


async def _was_cut(connection: socket.socket) -> bool:
    """Whether what is left to read ends before the answer does."""
    loop, received = asyncio.get_running_loop(), b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(3):
            while chunk := await loop.sock_recv(connection, _MIB):
                received = (received + chunk)[-64:]
    return b"[DONE]" not in received


async def slowloris(stage: Stage) -> None:
    """200 connections: half a header, half a body, or a byte a second."""
    began, closed = time.monotonic(), list[float]()
    tasks = [asyncio.create_task(_dribble(stage, n % 3, began, closed)) for n in range(200)]
    await asyncio.wait(tasks, timeout=30)
    stage.figures["still_open"] = len(tasks) - len(closed)
    stage.figures["closed_s"] = max(closed, default=float("inf"))
    for task in tasks:
        task.cancel()


async def _dribble(stage: Stage, kind: int, began: float, closed: list[float]) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, stage.cluster.gateway.port)
    head = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
    writer.write((head, head + b"\r\n{", head + b"\r\n{")[kind])
    ending = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        while not ending.done():
            if kind == 2:
                writer.write(b" ")
            await asyncio.wait([ending], timeout=1)
    with contextlib.suppress(ConnectionError):
        await ending
    closed.append(time.monotonic() - began)
    writer.close()


async def retry_storm(stage: Stage) -> None:
    """Every sequence fails with UNAVAILABLE; clients ask again at once, five times."""
    stage.load.prompt = "STORM"
    asked = len(stage.load.answers)
    attempts = await stage.cluster.metric("avikam_gateway_attempts_failed_total")
    until = time.monotonic() + 8 * stage.pace
    while time.monotonic() < until:
        await asyncio.sleep(0.05)
        fresh = [a for a in stage.load.answers[asked:] if a.ended and not a.text]
        for answer in fresh:
            if answer.code != "again" and answer.status != 200:
                answer.code = "again"
                for _ in range(5 if len(stage.load.answers) < 3000 else 0):
                    stage.load.ask(prompt="STORM")
    requests = len(stage.load.answers) - asked
    tried = await stage.cluster.metric("avikam_gateway_attempts_failed_total") - attempts
    stage.load.prompt = "Bonjour"
    stage.figures["upstream_ratio"] = tried / max(requests, 1)


def drills() -> Iterator[Drill]:
    """This family's lines."""
    yield Drill(
        "F36",
        "every client leaves at a random token",
        {**Z, "freed_s": 0.25},
        leaving,
        Layout(),
        rate=25,
        after=0,
    )
    yield Drill(
        "F37",
        f"{_SILENT} clients stop reading their 5 MB of logprobs (cut after 5 s here)",
        {**Z, "kib_of_each": 256, "others_gap_ratio": 1.1, "not_cut": 0},
        not_reading,
        Layout(gateway={"slow_client_seconds": 5}),
        before=6,
        after=1,
    )
    yield Drill(
        "F38",
        "200 slowloris connections (5 s for headers, 8 s for bodies here)",
        {**Z, "still_open": 0, "closed_s": 10.0, "ttft_ratio": 1.2},
        slowloris,
        Layout(gateway={"header_timeout_seconds": 5, "body_timeout_seconds": 8}),
        after=1,
    )
    yield Drill(
        "F43",
        "retry storm: all fail, clients ask again at once, five times",
        {"cut": 0, "lost": 0, "duplicated": 0, "leaked": 0, "upstream_ratio": 1.1},
        retry_storm,
        Layout(plan=f"{PACE},error@0~STORM"),
        tokens=10,
        after=1,
    )
