"""Runs a generation as an HTTP reply: whole, or streamed as it comes.

Errors before the first token are raised, so that they get their own status; a stream that has begun
ends with its dialect's error event. The client's leaving cancels everything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from avikam.gateway.api import accounts
from avikam.gateway.api.dialect import Dialect, Whole
from avikam.gateway.beside import beside
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.disconnect import CancelledWithClient, ClientGoneError
from avikam.gateway.doors.http.pinger import Pinger
from avikam.gateway.doors.internal_error import internal_error, log_failure
from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.metered_handler import MeteredHandler
from avikam.gateway.sequence.journal import Journal
from avikam.protocol.errors import ApiError

# Bytes of a reply that a token takes, and each alternative that is told with it, about.
_TOKEN_BYTES = 8
_ALTERNATIVE_BYTES = 64
# A stream that has been silent for this long says that it lives.
_IDLE_SECONDS = 15.0


class GenerationReply(Response):
    """An ASGI response that does the work when it is sent."""

    def __init__(
        self,
        handler: MeteredHandler,
        generation: Generation,
        dialect: Dialect,
        clock: Callable[[], float],
        stream: bool,
    ) -> None:
        # Not Response's own __init__: there is no body and no header to prepare yet.
        self.background = None
        self._handler = handler
        self.generation = generation
        self._dialect = dialect
        self._clock = clock
        self._stream = stream
        self._started = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Generate and send; ends when the client leaves."""
        async with CancelledWithClient(scope):
            await self.perform(scope, send)

    async def perform(self, scope: Scope, send: Send) -> bool:
        """Generate and send; returns whether the answer is complete. Raises ApiError."""
        self._started = call_of(scope).started
        if self._stream:
            return await self._send_stream(send)
        await self._send_whole(send)
        return True

    async def _send_whole(self, send: Send) -> None:
        generation, dialect = self.generation, self._dialect
        journals = await self._handler.collect(generation)
        elapsed = self._elapsed()

        def encode() -> tuple[Whole, str]:
            timings = accounts.timings(journals, elapsed)
            return dialect.whole(generation, elapsed), accounts.server_timing(timings)

        whole, timing = await beside(_size(journals), encode)
        headers = [
            (b"server-timing", timing.encode()),
            (b"content-type", whole.media_type.encode()),
            (b"content-length", b"%d" % len(whole.body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": whole.body})

    async def _send_stream(self, send: Send) -> bool:
        async with aclosing(self._handler.frames(self.generation)) as news:
            first = await self._first_token(news)
            headers = [
                (b"content-type", self._dialect.stream_type.encode()),
                (b"x-accel-buffering", b"no"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            end, complete = await self._send_pieces(first, news, send)
            await send({"type": "http.response.body", "body": end})
            return complete

    async def _first_token(self, news: AsyncGenerator[News, None]) -> News:
        """The first frame to be told. No dialect says anything of those before it; when they are
        all that comes for too long, the stream begins, so that the client sees that it lives."""
        async for item in news:
            journal, frame = item
            if frame.token_ids or journal.finish is not None or self._elapsed() > _IDLE_SECONDS:
                return item
        raise RuntimeError("a generation ended without a finish")

    async def _send_pieces(
        self, first: News, news: AsyncGenerator[News, None], send: Send
    ) -> tuple[bytes, bool]:
        """Send what comes; returns how the stream ends, and whether the answer is complete. The
        last words leave with the end."""
        dialect, generation = self._dialect, self.generation
        held = dialect.opening(generation) + dialect.piece(generation, first)
        try:
            async with Pinger(send, dialect.idle(), _IDLE_SECONDS) as pinger:
                if first[0].finish is None:
                    await send({"type": "http.response.body", "body": held, "more_body": True})
                    held = b""
                async for item in news:
                    held += dialect.piece(generation, item)
                    if held and item[0].finish is None:
                        await send({"type": "http.response.body", "body": held, "more_body": True})
                        held = b""
                        pinger.spoke()
            return held + dialect.closing(generation, self._elapsed()), True
        except ApiError as error:
            return held + self._failure(error), False
        except ClientGoneError:
            raise
        except Exception as error:
            # A status is out: without this event the client would see a cut and no reason.
            log_failure(error, generation.id, generation.trace)
            return held + self._failure(internal_error()), False

    def _failure(self, error: ApiError) -> bytes:
        """The last words of a stream that broke; its status does not tell, so its trace must."""
        if self.generation.trace is not None:
            self.generation.trace.fail(error)
        return self._dialect.failure(error)

    def _elapsed(self) -> float:
        return self._clock() - self._started


def _size(journals: Sequence[Journal]) -> int:
    """Bytes that a whole reply will have, about."""
    size = 0
    for journal in journals:
        size += _TOKEN_BYTES * len(journal.tokens)
        told = journal.finish.prompt_logprobs if journal.finish is not None else ()
        for entries in (journal.logprobs, told):
            if entries:
                size += _ALTERNATIVE_BYTES * len(entries) * (1 + len(entries[-1].top))
    return size
