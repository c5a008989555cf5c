"""One streamed answer as its client saw it: every token, when it came, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import httptools


class End(Enum):
    """How a stream ended."""

    WHOLE = "whole"  # its finish reason and the end mark
    REFUSED = "refused"  # 429 or 503 before it began, with Retry-After
    FAILED = "failed"  # any other status, or an error event
    CUT = "cut"  # no word at all
    LEFT = "left"  # the client went away
    HANGS = "hangs"  # neither end nor error until the client's patience was over


@dataclass(slots=True)
class Answer:
    """What came. Times are on the monotonic clock; ``due`` is when it should have been sent."""

    seed: int
    due: float
    end: End = End.HANGS
    status: int = 0
    code: str = ""
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    retry_after: str = ""
    ended: float = 0.0

    @property
    def first_token_seconds(self) -> float | None:
        """From when it was due to its first token."""
        return self.times[0] - self.due if self.times else None

    def longest_gap(self) -> float:
        """Longest pause between two events with tokens."""
        return max((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=0.0)

    def lost(self, expected: Sequence[int]) -> int:
        """Tokens that should have come and did not, before the end of what came."""
        wanted = expected if self.end is End.WHOLE else expected[: len(self.tokens)]
        return (Counter(wanted) - Counter(self.tokens)).total()

    def duplicated(self, expected: Sequence[int]) -> int:
        """Tokens that came and should not have: twice, or wrong."""
        surplus = (Counter(self.tokens) - Counter(expected)).total()
        out_of_order = self.tokens != list(expected[: len(self.tokens)])
        return max(surplus, int(out_of_order))


class SseClient(asyncio.Protocol):
    """Sends one request and reads its event stream; cheap enough for thousands of events/s."""

    def __init__(self, request: bytes, answer: Answer, leave_after: int | None = None) -> None:
        self._request = request
        self._answer = answer
        self._leave_after = leave_after
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body = b""
        self._finish = ""
        self._done = False
        self._failed = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close(End.CUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._close(End.CUT)

    def give_up(self) -> None:
        """The client's patience is over."""
        self._close(End.HANGS)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._answer.retry_after = value.decode()

    def on_headers_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body += body
        if self._answer.status != 200:
            return
        *events, self._body = self._body.split(b"\n\n")
        now = time.monotonic()
        for event in events:
            self._read(event, now)

    def on_message_complete(self) -> None:
        if self._answer.status != 200:
            refused = self._answer.status in (429, 503) and bool(self._answer.retry_after)
            self._answer.code = _code(self._body)
            self._close(End.REFUSED if refused else End.FAILED)
        else:
            whole = self._done and bool(self._finish) and not self._failed
            self._close(End.WHOLE if whole else End.FAILED if self._failed else End.CUT)

    # events

    def _read(self, event: bytes, now: float) -> None:
        line = next((e for e in event.split(b"\n") if e.startswith(b"data: ")), b"")
        if line == b"data: [DONE]":
            self._done = True
        elif line:
            self._take(json.loads(line[6:]), now)

    def _take(self, data: dict[str, object], now: float) -> None:
        answer = self._answer
        if "error" in data:
            self._failed = True
            answer.code = _code(json.dumps(data).encode())
            return
        entries = data.get("logprobs")
        if isinstance(entries, list) and entries:
            answer.tokens.extend(entry["token_id"] for entry in entries)
            answer.times.append(now)
        answer.text.append(str(data.get("text", "")))
        self._finish = str(data.get("finish_reason") or self._finish)
        if self._leave_after is not None and len(answer.tokens) >= self._leave_after:
            self._close(End.LEFT)

    def _close(self, end: End) -> None:
        if self.closed.done():
            return
        self._answer.end = end
        self._answer.ended = time.monotonic()
        self.closed.set_result(None)
        if self._transport is not None:
            self._transport.abort()


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"
