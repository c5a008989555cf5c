"""News of many lines on their way to one gateway, joined into messages of bounded size."""

from __future__ import annotations

import asyncio
from collections import deque

from avikam.v1 import worker_pb2

# Bytes after which a message is full: one takes about a millisecond to encode.
_FULL = 256 * 1024
# Messages that may be on their way: sent, and not known to have been read.
_WINDOW = 4
# Messages that may wait to be sent. Lines wait before there are many, but their ends do not.
_MOST_MESSAGES = 64
# What a frame is taken to have where counting is not worth its cost.
_PLAIN = 96


class Outbox:
    """Messages in the order they fill. Each piece of news is copied once, to where it leaves."""

    def __init__(self) -> None:
        self._messages: deque[worker_pb2.ExchangeResponse] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._read = asyncio.Event()
        self._unread = 0

    @property
    def full(self) -> bool:
        """Whether lines must wait before they add more: nothing they add would leave now."""
        return self._unread >= _WINDOW

    @property
    def overflows(self) -> bool:
        """Whether more waits than any reader that reads leaves there."""
        return len(self._messages) > _MOST_MESSAGES

    def frame(self, line: int, frame: worker_pb2.SequenceFrame) -> None:
        """Add a line's frame."""
        news = self._news(line)
        news.frame.CopyFrom(frame)
        self._size += _weight(frame)

    def end(self, line: int, end: worker_pb2.LineEnd) -> None:
        """Add the end of a line that has no finish."""
        self._news(line).end.CopyFrom(end)
        self._size += _PLAIN + len(end.message)

    async def take(self) -> worker_pb2.ExchangeResponse:
        """The next message, which the caller writes before it takes another one."""
        if not self._messages:
            self._filled.clear()
            await self._filled.wait()
        while self.full:
            self._read.clear()
            await self._read.wait()
        self._unread += 1
        return self._messages.popleft()

    def close(self) -> None:
        """Add the last message."""
        self._messages.append(worker_pb2.ExchangeResponse(closing=True))
        self._filled.set()

    def receipt(self, count: int) -> None:
        """The gateway has read so many messages more."""
        if count:
            self._unread = max(self._unread - count, 0)
            self._read.set()

    async def wait_room(self) -> None:
        """Until lines may add more."""
        while self.full:
            self._read.clear()
            await self._read.wait()

    def _news(self, line: int) -> worker_pb2.LineNews:
        if not self._messages or self._size > _FULL:
            self._messages.append(worker_pb2.ExchangeResponse())
            self._size = 0
            self._filled.set()
        return self._messages[-1].news.add(line=line)


def _weight(frame: worker_pb2.SequenceFrame) -> int:
    """About its bytes; exact for frames that may be large."""
    if frame.logprobs or (frame.HasField("finish") and frame.finish.prompt_logprobs):
        return frame.ByteSize()
    return _PLAIN + 2 * len(frame.text)
