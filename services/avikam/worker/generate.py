"""One Generate call, from the request to the last frame.

request ─► checked spec ─► grammar ─► engine.submit ─► `accepted` ─► frames, heartbeats ─► `finish`
               │           compiled        │                              │
            ApiError       ApiError     ApiError     client gone, deadline, hand-over: engine.cancel
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from avikam.engine.interface import Delta, Engine, FinishReason, SequenceSpec
from avikam.protocol.errors import engine_failed
from avikam.v1 import worker_pb2
from avikam.worker.compiling import Compiling
from avikam.worker.frames import FrameWriter
from avikam.worker.metrics import WorkerMetrics
from avikam.worker.streams import Stream, Streams, handed_over
from avikam.worker.wire import sequence_spec

if TYPE_CHECKING:
    from avikam.worker.sequence_trace import SequenceTrace


class Caller(Protocol):
    """Who a sequence runs for: the context of a call, or a line of an exchange."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""

    async def write(self, frame: worker_pb2.SequenceFrame, /) -> None:
        """Send a frame; waits while the caller does not read."""


class Generation:
    """Runs sequences of one engine as streams."""

    def __init__(
        self, engine: Engine, streams: Streams, metrics: WorkerMetrics, compiling: Compiling
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._metrics = metrics
        self._compiling = compiling

    async def run(
        self,
        request: worker_pb2.SequenceRequest,
        caller: Caller,
        trace: SequenceTrace | None = None,
    ) -> None:
        """Serve one request; every way out leaves nothing behind in the engine."""
        key = self._streams.next_key(request.request_id)
        spec = await sequence_spec(request, self._engine, key, caller.time_remaining())
        writer = FrameWriter(self._engine, request.attempt)
        if spec.sampling.grammar and not self._engine.prepared(spec.sampling):
            await self._compile(spec, writer, caller)
        with self._streams.open(key) as stream:
            self._engine.submit(spec, stream.box.put)
            if trace is not None:
                trace.admitted(self._engine.model.id, len(spec.prompt))
            try:
                await self._stream(stream, spec, writer, caller, trace)
            finally:
                # A sequence that has finished is unknown to the engine, and ignored.
                self._engine.cancel(key)

    async def _compile(self, spec: SequenceSpec, writer: FrameWriter, caller: Caller) -> None:
        """Let the sequence's grammar be compiled; the caller hears that this goes on."""
        sampling = spec.sampling
        await self._compiling.run(
            spec.tenant,
            "regex" if sampling.json_schema is None else "json_schema",
            lambda: self._engine.prepare(sampling),
            lambda: caller.write(writer.preparing()),
        )

    async def _stream(
        self,
        stream: Stream,
        spec: SequenceSpec,
        writer: FrameWriter,
        caller: Caller,
        trace: SequenceTrace | None,
    ) -> None:
        account = self._metrics.account(spec)
        await caller.write(writer.accepted(spec))
        index, ended = len(spec.generated), False
        while not ended:
            deltas = await stream.box.take()
            if trace is not None and deltas:
                trace.add(deltas)
            if deltas and _engine_failed(deltas[-1]):
                account.add(deltas)
                raise engine_failed()
            for frame in writer.frames(deltas):
                await caller.write(frame)
                if frame.logprobs:
                    # Those of one that was held may be thousands: the others have turns between.
                    await asyncio.sleep(0)
            if deltas:
                index = deltas[-1].first_index + len(deltas[-1].tokens)
                ended = account.add(deltas)
            elif not stream.leaving:
                await caller.write(writer.heartbeat(index))
            if stream.leaving and not ended:
                # Also while tokens keep coming: a busy stream would never find a quiet moment.
                raise handed_over()
            self._streams.wrote(stream)


def _engine_failed(delta: Delta) -> bool:
    """Whether the engine lost the sequence: what it has not told yet is computed elsewhere."""
    return delta.finish is not None and delta.finish.reason is FinishReason.FAILED
