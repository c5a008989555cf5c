"""A TCP proxy that does to a connection what networks do: delay, stall, cut, tear, damage.

    async with ChaosProxy("127.0.0.1:50051") as proxy:     # clients connect to proxy.address
        proxy.down.latency = 0.2                            # answers come 200 ms later
        proxy.blackhole()                                   # nothing passes, nothing is told
        proxy.heal()
        proxy.reset()                                       # RST for every open connection

``up`` is what clients send, ``down`` what they get. Toxics may be changed at any time; they hold
for open connections, too. After a blackhole what was held back arrives, as TCP would send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

_READ_BYTES = 64 * 1024
# Chunks on their way in one direction of one connection: more than these stop the reading.
_IN_FLIGHT = 64
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Toxics:
    """What happens to the bytes of one direction. The default is nothing."""

    latency: float = 0.0  # seconds that each chunk comes later
    jitter: float = 0.0  # seconds around it, uniformly
    loss: float = 0.0  # share of chunks that must be sent again ...
    resend: float = 0.2  # ... and come this many seconds later, with all behind them
    slice_bytes: int = 0  # largest piece that is passed on at once; 0: any
    bytes_per_second: float = 0.0  # 0: any
    corrupt: float = 0.0  # chance of each byte to have one bit flipped
    blackhole: bool = False  # nothing passes

    def delay(self, rng: random.Random) -> float:
        """Seconds until a chunk that came now is passed on."""
        wait = self.latency + rng.uniform(-self.jitter, self.jitter)
        return max(wait, 0.0) + (self.resend if rng.random() < self.loss else 0.0)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """The chunk, torn."""
        size = self.slice_bytes or len(chunk)
        return (chunk[at : at + size] for at in range(0, len(chunk), size))

    def damage(self, chunk: bytes, rng: random.Random) -> bytes:
        """The chunk with some bits flipped."""
        if not self.corrupt:
            return chunk
        flipped = bytearray(chunk)
        for at in range(len(flipped)):
            if rng.random() < self.corrupt:
                flipped[at] ^= 1 << rng.randrange(8)
        return bytes(flipped)


class ChaosProxy:
    """Listens on a free port of the loopback interface and passes on to ``target``."""

    def __init__(self, target: str, rng: random.Random | None = None) -> None:
        # New connections go there; it may be changed.
        self.target = target
        self._rng = rng or random.Random()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self.up = Toxics()
        self.down = Toxics()
        self.accepted = 0

    @property
    def address(self) -> str:
        """Where clients connect instead of to the target."""
        if self._server is None:
            raise RuntimeError("the proxy was not started")
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._links)

    def blackhole(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing pass in these directions, and tell nobody."""
        self.up.blackhole, self.down.blackhole = up, down

    def heal(self) -> None:
        """No toxics any more."""
        self.up, self.down = Toxics(), Toxics()

    def reset(self) -> None:
        """Abort every open connection with RST, on both sides."""
        for link in tuple(self._links):
            link.reset()

    async def __aenter__(self) -> ChaosProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            host, _, port = self.target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _abort(writer)
            return
        link = _Link(self, reader, writer, far_reader, far_writer, self._rng)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _Link:
    """One client's connection and the one to the target behind it."""

    def __init__(
        self,
        proxy: ChaosProxy,
        near_reader: asyncio.StreamReader,
        near_writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        rng: random.Random,
    ) -> None:
        self._writers = near_writer, far_writer
        self._up = _Pipe(near_reader, far_writer, lambda: proxy.up, rng)
        self._down = _Pipe(far_reader, near_writer, lambda: proxy.down, rng)
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until both directions have ended, or one broke."""
        self._task = asyncio.create_task(self._pass_on())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        finally:
            self.reset()

    def reset(self) -> None:
        """RST to both sides."""
        if self._task is not None:
            self._task.cancel()
        for writer in self._writers:
            _abort(writer)

    async def _pass_on(self) -> None:
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as tasks:
                for pipe in (self._up, self._down):
                    tasks.create_task(pipe.read())
                    tasks.create_task(pipe.write())


class _Pipe:
    """One direction: what is read now is written when its delay is over, in order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        toxics: Callable[[], Toxics],
        rng: random.Random,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._toxics = toxics
        self._rng = rng
        self._queue = asyncio.Queue[tuple[float, bytes]](_IN_FLIGHT)

    async def read(self) -> None:
        """Take chunks until the sender ends."""
        while True:
            await self._wait_for_the_light()
            chunk = await self._reader.read(_READ_BYTES)
            due = time.monotonic() + self._toxics().delay(self._rng)
            await self._queue.put((due, chunk))
            if not chunk:
                return

    async def write(self) -> None:
        """Pass chunks on when they are due; the empty one is the end."""
        while True:
            due, chunk = await self._queue.get()
            await asyncio.sleep(due - time.monotonic())
            await self._wait_for_the_light()
            if not chunk:
                self._writer.write_eof()
                return
            for piece in self._toxics().pieces(chunk):
                await self._send(piece)

    async def _send(self, piece: bytes) -> None:
        toxics = self._toxics()
        self._writer.write(toxics.damage(piece, self._rng))
        await self._writer.drain()
        if toxics.bytes_per_second:
            await asyncio.sleep(len(piece) / toxics.bytes_per_second)
        elif toxics.slice_bytes:
            await asyncio.sleep(0)  # each slice a segment of its own

    async def _wait_for_the_light(self) -> None:
        while self._toxics().blackhole:
            await asyncio.sleep(0.01)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
