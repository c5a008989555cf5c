"""What a worker is still to be told, joined into few messages."""

from __future__ import annotations

import asyncio

from avikam.v1 import worker_pb2

# Bytes of requests after which a message is full. A larger request travels alone: a message never
# has more than the largest request, which the limits of the transport leave room for.
_FULL = 1 << 20
# Half of what the worker sends without a receipt.
_RECEIPTS = 2


class Outbox:
    """Starts, cancels, holds and receipts that wait for the message before them to be written.

    What undoes something that has not left yet takes it back instead.
    """

    def __init__(self) -> None:
        self._starts: dict[int, worker_pb2.StartSequence] = {}
        self._cancels: list[int] = []
        self._holds: set[int] = set()
        self._resumes: set[int] = set()
        self._read = 0
        self._filled = asyncio.Event()

    def start(self, start: worker_pb2.StartSequence) -> None:
        """Open a line."""
        self._starts[start.line] = start
        self._filled.set()

    def cancel(self, line: int) -> None:
        """Close a line."""
        self._holds.discard(line)
        self._resumes.discard(line)
        if self._starts.pop(line, None) is None:
            self._cancels.append(line)
            self._filled.set()

    def hold(self, line: int, on: bool) -> None:
        """Let a line wait, or go on."""
        told, undone = (self._holds, self._resumes) if on else (self._resumes, self._holds)
        if line in undone:
            undone.discard(line)
        else:
            told.add(line)
            self._filled.set()

    def receipt(self) -> None:
        """A message was read. Alone it is not worth one in return; two are."""
        self._read += 1
        if self._read >= _RECEIPTS:
            self._filled.set()

    async def take(self) -> worker_pb2.ExchangeRequest:
        """The next message; waits for something to say."""
        await self._filled.wait()
        message = worker_pb2.ExchangeRequest(
            cancel=self._cancels, hold=self._holds, resume=self._resumes, read=self._read
        )
        self._read = 0
        for told in (self._cancels, self._holds, self._resumes):
            told.clear()
        self._add_starts(message)
        if not self._starts:
            self._filled.clear()
        return message

    def _add_starts(self, message: worker_pb2.ExchangeRequest) -> None:
        size = 0
        while self._starts:
            line, start = next(iter(self._starts.items()))
            size += start.ByteSize()
            if size > _FULL and message.start:
                return
            message.start.append(self._starts.pop(line))
