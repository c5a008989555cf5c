"""What a worker tells about a sequence: one span, under the gateway's attempt, with vLLM's names.

Imported only once tracing is switched on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from avikam.common import span_attributes as names
from avikam.common.span_export import Tracing
from avikam.engine.interface import Delta, Finish, FinishReason
from avikam.protocol.errors import HANDED_OVER, ApiError
from avikam.v1 import worker_pb2

# vLLM's name of a request's span.
_NAME = "llm_request"


class WorkerTracing:
    """Makes the spans of a worker's sequences."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @contextmanager
    def sequence(self, request: worker_pb2.SequenceRequest) -> Iterator[SequenceTrace]:
        """The span of one sequence, which ends with the block, however that does."""
        context = {"traceparent": request.traceparent, "tracestate": request.tracestate}
        parent = self._tracing.parent_from({k: v for k, v in context.items() if v})
        span = self._tracing.start(_NAME, SpanKind.SERVER, parent)
        if span.is_recording():
            span.set_attributes(_about(request))
        try:
            yield SequenceTrace(span)
        except asyncio.CancelledError:
            span.set_attribute(names.OUTCOME, "cancelled")
            raise
        except ApiError as error:
            _refused(span, error.code, error.status >= 500 and error.code != HANDED_OVER)
            raise
        except Exception as error:
            # The exception's own text may quote the prompt.
            _refused(span, type(error).__name__, failed=True)
            raise
        finally:
            span.end()

    async def close(self) -> None:
        """Send what waits, for a bounded time."""
        await self._tracing.close()


class SequenceTrace:
    """The span of a sequence that runs."""

    __slots__ = ("_begun", "_span", "_started")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._started = time.monotonic()
        self._begun = False

    def admitted(self, model: str, prompt_tokens: int) -> None:
        """The engine has taken it."""
        self._span.set_attributes({names.RESPONSE_MODEL: model, names.PROMPT_TOKENS: prompt_tokens})

    def add(self, deltas: Sequence[Delta]) -> None:
        """What the engine said, not empty: the first token and the end are kept."""
        if not self._begun and any(delta.tokens for delta in deltas):
            self._begun = True
            self._span.set_attribute(names.TIME_TO_FIRST_TOKEN, self._elapsed())
            self._span.add_event("first token")
        finish = deltas[-1].finish
        if finish is not None:
            self._span.set_attributes(_measured(finish, self._elapsed()))
            if finish.reason in (FinishReason.ERROR, FinishReason.FAILED):
                self._span.set_status(Status(StatusCode.ERROR))

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _about(request: worker_pb2.SequenceRequest) -> dict[str, str | int | float]:
    about: dict[str, str | int | float] = {
        names.PROVIDER: "avikam",
        names.REQUEST_ID: request.request_id,
        names.ATTEMPT: request.attempt,
        names.RESUMED_TOKENS: len(request.generated),
    }
    for field, name in names.REQUEST_SAMPLING.items():
        if request.sampling.HasField(field):
            about[name] = getattr(request.sampling, field)
    return about


def _measured(finish: Finish, seconds: float) -> dict[str, str | int | float]:
    timings = finish.timings
    return {
        names.OUTCOME: finish.reason.value,
        names.COMPLETION_TOKENS: finish.completion_tokens,
        names.CACHED_TOKENS: timings.cached_tokens,
        names.TIME_IN_QUEUE: timings.queue,
        names.TIME_IN_PREFILL: timings.prefill,
        names.TIME_IN_DECODE: timings.decode,
        names.TIME_IN_INFERENCE: timings.prefill + timings.decode,
        names.END_TO_END: seconds,
    }


def _refused(span: Span, code: str, failed: bool) -> None:
    span.set_attribute(names.OUTCOME, code)
    if failed:
        span.set_attribute(names.ERROR_TYPE, code)
        span.set_status(Status(StatusCode.ERROR))
