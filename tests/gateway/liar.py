"""A worker that lies: real gRPC, a status like a fake engine's, and frames that a test makes up.

async with lying_worker(lambda start, model: [finish(start, tokens=[1, 2, 3] * 100)]) as liar:
    async with gateway_to(liar, honest) as gateway: ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from avikam.engine.fake import FakeEngine
from avikam.engine.fault_plan import FaultPlan
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2, worker_pb2_grpc
from avikam.worker.status import model_info
from tests.worker.harness import CHANNEL_OPTIONS, LOOPBACK

Start = worker_pb2.StartSequence
Lie = Callable[[Start], Sequence[worker_pb2.LineNews]]


def accepted(start: Start, prompt_tokens: int = 8) -> worker_pb2.LineNews:
    """The first frame of an honest worker; prompts of tests have seven characters."""
    told = worker_pb2.Accepted(seed=start.sequence.sampling.seed, prompt_tokens=prompt_tokens)
    frame = worker_pb2.SequenceFrame(attempt=start.sequence.attempt, accepted=told)
    return worker_pb2.LineNews(line=start.line, frame=frame)


def tokens(start: Start, ids: Sequence[int], first: int = 0, **more: Any) -> worker_pb2.LineNews:
    """Tokens with a text that no honest worker sends, perhaps the last ones."""
    frame = worker_pb2.SequenceFrame(
        attempt=start.sequence.attempt, first_index=first, token_ids=ids, text="LIE", **more
    )
    return worker_pb2.LineNews(line=start.line, frame=frame)


def ended(start: Start, status: int) -> worker_pb2.LineNews:
    """The end of a line with what is, or is not, an error."""
    end = worker_pb2.LineEnd(status=status, code="lie", message="LIE")
    return worker_pb2.LineNews(line=start.line, end=end)


@dataclass(slots=True)
class LyingWorker(worker_pb2_grpc.WorkerServiceServicer):
    """Says of each sequence what ``lie`` makes up; ``status`` is what it says of itself."""

    lie: Lie
    status: worker_pb2.WorkerStatus
    address: str = ""
    asked: int = 0
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def WatchStatus(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        while True:
            yield self.status
            await asyncio.sleep(0.2)

    async def Exchange(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for message in requests:
            for start in message.start:
                self.asked += 1
                for news in self.lie(start):
                    yield worker_pb2.ExchangeResponse(news=[news])


def honest_status() -> worker_pb2.WorkerStatus:
    """That of an idle worker of the fake engine."""
    engine = FakeEngine(FaultPlan())
    try:
        return worker_pb2.WorkerStatus(
            worker_id="liar",
            state=worker_pb2.WORKER_STATE_READY,
            slots_total=32,
            queue_limit=64,
            model=model_info(engine.model),
            numerics=engine.model.numerics,
        )
    finally:
        engine.close()


@contextlib.asynccontextmanager
async def lying_worker(
    lie: Lie, status: worker_pb2.WorkerStatus | None = None
) -> AsyncIterator[LyingWorker]:
    """It listens on a free port of the loopback interface."""
    worker = LyingWorker(lie, status or honest_status())  # type: ignore[abstract]
    server = aio.server(options=CHANNEL_OPTIONS)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(worker, server)
    worker.address = f"{LOOPBACK}:{server.add_insecure_port(f'{LOOPBACK}:0')}"
    await server.start()
    try:
        yield worker
    finally:
        await server.stop(None)


STOP = pb.FINISH_REASON_STOP
