"""Faults of the stream itself, for workers of the fake engine: they happen behind real gRPC.

The engine ends a faulty sequence with an ``injected fault`` finish. All frames before it are on
their way when the write of that finish is met here, so "die at token k" means that k tokens left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any, cast

from avikam.engine.fault_plan import INJECTED, FaultKind
from avikam.protocol.errors import unavailable
from avikam.v1 import worker_pb2
from avikam.worker.errors import Context
from avikam.worker.service import WorkerService

# A write that has returned is with gRPC's own threads, which may still be sending it.
_FLUSH_SECONDS = 0.02


class StreamDropped(Exception):  # noqa: N818 - not an error: the stream is to end as if all were well
    """The stream ends here, without a finish."""


class FaultyContext:
    """The context of a call, whose writes of an injected fault become that fault."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, frame: worker_pb2.SequenceFrame) -> None:
        if not frame.finish.error.startswith(INJECTED):
            await self._context.write(frame)
            return
        kind = FaultKind(frame.finish.error.removeprefix(INJECTED))
        frame.ClearField("finish")
        if frame.token_ids or frame.text:
            await self._context.write(frame)
        await _act(kind)


async def _act(kind: FaultKind) -> None:
    match kind:
        case FaultKind.DIE:
            await asyncio.sleep(_FLUSH_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        case FaultKind.ERROR:
            raise unavailable("The fault plan ends this stream.")
        case FaultKind.DROP:
            raise StreamDropped


class FaultyWorkerService(WorkerService):
    """The worker service, with an engine whose fault plan reaches into the streams."""

    async def Generate(  # type: ignore[override]  # noqa: N802
        self, request: worker_pb2.SequenceRequest, context: Context
    ) -> None:
        with contextlib.suppress(StreamDropped):
            await super().Generate(request, cast("Context", FaultyContext(context)))
