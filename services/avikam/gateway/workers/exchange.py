"""The one call that carries all of a gateway's sequences on a worker.

start, cancel, hold ──► outbox ──► one message for all that is there ──► worker
inbox of each line ◄── many frames in one message ◄───────────────────── worker

A call per sequence and a message per frame would cost more than everything else a gateway does.
The call is opened by the first sequence, and again by the next one after it broke; when it breaks,
every line on it fails. Nobody who reads from a line can keep the call from being read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from avikam.gateway.workers.ending import LineEnded
from avikam.gateway.workers.inbox import Inbox
from avikam.gateway.workers.outbox import Outbox
from avikam.protocol.errors import ApiError
from avikam.v1 import worker_pb2

if TYPE_CHECKING:
    from avikam.v1.worker_pb2_grpc import WorkerServiceAsyncStub


class Exchange:
    """Lines to one worker; see the module."""

    def __init__(self, stub: WorkerServiceAsyncStub) -> None:
        self._stub = stub
        self._lines = 0
        self._session: _Session | None = None

    def open(self, request: worker_pb2.SequenceRequest, timeout: float) -> Inbox:
        """Start a sequence that may take ``timeout`` seconds."""
        if self._session is None or self._session.ended:
            self._session = _Session(self._stub)
        self._lines += 1
        start = worker_pb2.StartSequence(
            line=self._lines, sequence=request, timeout_ms=max(int(timeout * 1000), 1)
        )
        return self._session.start(start)

    def close(self, inbox: Inbox) -> None:
        """Listen no more; the worker stops the sequence if it still runs."""
        if self._session is not None:
            self._session.cancel(inbox)

    async def shut(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.end()


class _Session:
    """One Exchange call from its opening to its end."""

    def __init__(self, stub: WorkerServiceAsyncStub) -> None:
        self.ended = False
        self._call = stub.Exchange(None)
        self._inboxes: dict[int, Inbox] = {}
        self._outbox = Outbox()
        self._reading = asyncio.create_task(self._read())
        self._writing = asyncio.create_task(self._write())

    def start(self, start: worker_pb2.StartSequence) -> Inbox:
        inbox = self._inboxes[start.line] = Inbox(start.line, self._outbox.hold)
        self._outbox.start(start)
        return inbox

    def cancel(self, inbox: Inbox) -> None:
        """Lines that have ended, also those of an earlier session, are not here any more."""
        if self._inboxes.get(inbox.line) is inbox:
            del self._inboxes[inbox.line]
            self._outbox.cancel(inbox.line)

    async def end(self) -> None:
        self._break(grpc.StatusCode.CANCELLED)
        self._reading.cancel()
        await asyncio.gather(self._reading, self._writing, return_exceptions=True)

    async def _read(self) -> None:
        code = grpc.StatusCode.UNAVAILABLE
        try:
            while isinstance(reply := await self._call.read(), worker_pb2.ExchangeResponse):
                self._deliver(reply)
                if reply.closing:
                    break
                self._outbox.receipt()
        except grpc.aio.AioRpcError as error:
            code = error.code()
        except DecodeError:
            code = grpc.StatusCode.DATA_LOSS
        finally:
            self._break(code)

    async def _write(self) -> None:
        try:
            while True:
                message = await self._outbox.take()
                await self._call.write(message)
                for start in message.start:
                    if start.line in self._inboxes:
                        self._inboxes[start.line].sent = True
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has broken; its reader sees that too, and says so to every line.
            return

    def _deliver(self, reply: worker_pb2.ExchangeResponse) -> None:
        for news in reply.news:
            inbox = self._inboxes.get(news.line)
            if inbox is None:
                continue
            if news.HasField("end"):
                del self._inboxes[news.line]
                inbox.end(_ended(news.end, inbox.accepted))
                continue
            if news.frame.HasField("finish"):
                del self._inboxes[news.line]
            inbox.put(news.frame)

    def _break(self, code: grpc.StatusCode) -> None:
        self.ended = True
        self._writing.cancel()
        self._call.cancel()
        for inbox in self._inboxes.values():
            inbox.end(LineEnded(code=code, accepted=inbox.accepted, sent=inbox.sent))
        self._inboxes.clear()


def _ended(end: worker_pb2.LineEnd, accepted: bool) -> LineEnded:
    """Why a line ended without a finish, in the worker's words."""
    if not end.status:
        return LineEnded(accepted=accepted)
    retry_after = end.retry_after_seconds or None
    error = ApiError(end.status, end.message, end.code, end.param or None, retry_after)
    return LineEnded(error=error, accepted=accepted)
