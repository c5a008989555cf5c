"""Faults of the stream itself, for workers of the fake engine: they happen behind real gRPC.

The engine ends a faulty sequence with an ``injected fault`` finish. All frames before it are on
their way when the write of that finish is met here, so "die at token k" means that k tokens left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from avikam.engine.fault_plan import INJECTED, FaultKind
from avikam.protocol.errors import unavailable
from avikam.v1 import worker_pb2
from avikam.worker.generate import Caller
from avikam.worker.service import WorkerService

# A write that has returned is with gRPC's own threads, which may still be sending it.
_FLUSH_SECONDS = 0.02


class StreamDropped(Exception):  # noqa: N818 - not an error: the stream is to end as if all were well
    """The stream ends here, without a finish."""


class FaultyCaller:
    """A caller; writing an injected fault to it becomes that fault."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline; None without one."""
        return self._caller.time_remaining()

    async def write(self, frame: worker_pb2.SequenceFrame, /) -> None:
        """Write a frame, or act out the fault that it carries."""
        if not frame.finish.error.startswith(INJECTED):
            await self._caller.write(frame)
            return
        kind = FaultKind(frame.finish.error.removeprefix(INJECTED))
        frame.ClearField("finish")
        if frame.token_ids or frame.text:
            await self._caller.write(frame)
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
        self, request: worker_pb2.SequenceRequest, context: Caller
    ) -> None:
        """Generate, with faults where the plan has them."""
        with contextlib.suppress(StreamDropped):
            await super().Generate(request, FaultyCaller(context))
