"""New connections: many per turn of the loop, and none lost when the process has no more room."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from functools import partial

import pytest
import uvloop

from avikam.gateway.doors.http.server.acceptor import Acceptor

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    uvloop.new_event_loop,
    asyncio.new_event_loop,
]
loops = pytest.mark.parametrize("loop", LOOPS, ids=["uvloop", "asyncio"])


class Counting(asyncio.Protocol):
    """Counts the connections that were made, and notes with whom."""

    def __init__(
        self, made: list[asyncio.BaseTransport], names: list[object] | None = None
    ) -> None:
        self._made = made
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(transport)
        if self._names is not None:
            self._names.append(transport.get_extra_info("peername"))


async def clients(port: int, count: int) -> list[socket.socket]:
    """Connections that the kernel has made and nobody has taken yet."""
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


@loops
def test_a_few_turns_take_all_that_wait(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """uvloop's own servers would need as many turns as there are connections."""

    async def turns_for(count: int) -> int:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        made: list[asyncio.BaseTransport] = []
        waiting = await clients(listening.getsockname()[1], count)
        acceptor = Acceptor(listening, lambda: Counting(made))
        acceptor.open()
        turns = 0
        while len(made) < count:
            await asyncio.sleep(0)
            turns += 1
        acceptor.close()
        for transport in made:
            transport.close()
        for client in waiting:
            client.close()
        return turns

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(turns_for(300)) < 60


@loops
def test_connections_wait_while_the_process_has_no_descriptor(
    loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            if tries <= 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as plain:
            listening = Exhausted(fileno=plain.detach())
        made: list[asyncio.BaseTransport] = []
        (client,) = await clients(listening.getsockname()[1], 1)
        acceptor = Acceptor(listening, lambda: Counting(made))
        acceptor.open()
        async with asyncio.timeout(10):
            while not made:
                await asyncio.sleep(0.01)
        acceptor.close()
        acceptor.close()
        made[0].close()
        client.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
    # One try for each pause: the loop does not spin.
    assert 3 <= tries <= 5
    assert "Too many open files" in caplog.text


@loops
def test_who_left_before_its_turn_keeps_nobody_waiting(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> int:
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        made: list[asyncio.BaseTransport] = []
        names: list[object] = []
        port = listening.getsockname()[1]
        for client in await clients(port, 20):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        (last,) = await clients(port, 1)
        acceptor = Acceptor(listening, lambda: Counting(made, names))
        acceptor.open()
        found = 0
        async with asyncio.timeout(10):
            while not found:
                await asyncio.sleep(0.01)
                found = names.count(last.getsockname())
        acceptor.close()
        for transport in made:
            with contextlib.suppress(OSError):
                transport.close()
        last.close()
        return found

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(scenario()) == 1


@loops
def test_gateways_that_share_a_socket_share_what_waits(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> list[int]:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        waiting = await clients(listening.getsockname()[1], 200)
        shares: list[list[asyncio.BaseTransport]] = [[], []]
        acceptors = [
            Acceptor(listening.dup(), partial(Counting, share), shared=True) for share in shares
        ]
        listening.close()
        for acceptor in acceptors:
            acceptor.open()
        async with asyncio.timeout(10):
            while sum(map(len, shares)) < 200:
                await asyncio.sleep(0)
        for acceptor in acceptors:
            acceptor.close()
        for client in waiting:
            client.close()
        return [len(share) for share in shares]

    with asyncio.Runner(loop_factory=loop) as runner:
        assert min(runner.run(scenario())) >= 60
