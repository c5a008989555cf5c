"""One call for all of a gateway's sequences: each line behaves as a Generate call of its own.

start ──► a task per line ──► Generate ──► frames ──┐
cancel ─► its task ends                             ├─► outbox ──► one message for all that is there
hold ───► its frames wait                           │
other lines ────────────────────────────────────────┘

While a message is being written, the next one fills: the busier the worker, the fewer messages per
frame. A gateway that falls behind is sent no more than a few messages that it has not read: what
comes meanwhile is joined, line by line, so that its tokens are late together and not ever later.
When the gateway is gone, all its lines end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from avikam.protocol.errors import ApiError, invalid, overloaded
from avikam.v1 import worker_pb2
from avikam.worker.errors import INTERNAL_TEXT, Context, log_failure
from avikam.worker.line import Line
from avikam.worker.outbox import Outbox

# What a gateway sends at once is some hundred.
_MOST_STARTS = 4096
# So many lines are not worth asking the engine how many it takes.
_FEW_LINES = 256

Generate = Callable[[worker_pb2.SequenceRequest, Line], Awaitable[None]]


class Exchange:
    """The worker's side of one Exchange call."""

    def __init__(
        self, generate: Generate, on_refusal: Callable[[str], None], most_lines: Callable[[], int]
    ) -> None:
        self._generate = generate
        self._on_refusal = on_refusal
        self._most_lines = most_lines
        self._outbox = Outbox()
        self._lines: dict[int, Line] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, context: Context, closing: asyncio.Event) -> None:
        """Serve until the gateway hangs up, or the worker closes and has said its last words."""
        reading = asyncio.create_task(self._read(context))
        writing = asyncio.create_task(self._write(context))
        closed = asyncio.create_task(closing.wait())
        try:
            await asyncio.wait((reading, writing, closed), return_when=asyncio.FIRST_COMPLETED)
            await self._end_lines()
            if closed.done():
                self._outbox.close()
                # Ended by the gateway; the server's own patience bounds this.
                await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, writing, closed):
                task.cancel()
            await self._end_lines()
            await _ended(reading, writing)

    async def _end_lines(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _read(self, context: Context) -> None:
        while isinstance(message := await context.read(), worker_pb2.ExchangeRequest):
            if len(message.start) > _MOST_STARTS:
                raise invalid(
                    f"{len(message.start)} lines start in one message, at most {_MOST_STARTS}",
                    "start",
                )
            for start in message.start:
                self._start(start)
            if self._outbox.overflows:
                raise overloaded("what this call was told is not read; call again")
            for number in message.cancel:
                if number in self._tasks:
                    self._tasks[number].cancel()
            self._hold(message)
            self._outbox.receipt(message.read)

    def _hold(self, message: worker_pb2.ExchangeRequest) -> None:
        for number in message.hold:
            if number in self._lines:
                self._lines[number].hold()
        for number in message.resume:
            if number in self._lines:
                self._lines[number].resume()

    def _start(self, start: worker_pb2.StartSequence) -> None:
        if start.line in self._tasks:
            self._end(start.line, invalid(f"line {start.line} is in use", "line"))
            return
        if len(self._tasks) >= _FEW_LINES and len(self._tasks) >= self._most_lines():
            self._end(start.line, overloaded(f"{len(self._tasks)} lines are open already"))
            return
        line = Line(self._outbox, start.line, start.timeout_ms)
        task = asyncio.create_task(self._serve(line, start.sequence))
        self._lines[start.line], self._tasks[start.line] = line, task
        task.add_done_callback(lambda _: self._forget(start.line))

    def _forget(self, number: int) -> None:
        del self._lines[number], self._tasks[number]

    async def _serve(self, line: Line, request: worker_pb2.SequenceRequest) -> None:
        try:
            await self._generate(request, line)
        except ApiError as error:
            self._end(line.number, error)
        except Exception as error:  # the last door before the network
            log_failure(error, request)
            self._end(line.number, ApiError(500, INTERNAL_TEXT, "internal_error"))
        else:
            if not line.finished:
                self._outbox.end(line.number, worker_pb2.LineEnd())

    def _end(self, number: int, error: ApiError) -> None:
        self._on_refusal(error.code)
        end = worker_pb2.LineEnd(
            status=error.status,
            code=error.code,
            param=error.param or "",
            message=error.message,
            retry_after_seconds=error.retry_after or 0.0,
        )
        self._outbox.end(number, end)

    async def _write(self, context: Context) -> None:
        while True:
            await context.write(await self._outbox.take())


async def _ended(*tasks: asyncio.Task[None]) -> None:
    """Wait for cancelled tasks; raise what one of them failed with before."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
