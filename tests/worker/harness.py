"""Workers for tests: in this process or in one of their own, always on a free port.

async with running_worker(plan="tpot=2ms,drop@9") as worker:        # in this process
    answer = await generate(worker.stub, "Bonjour", max_tokens=20)

async with worker_process(plan="die@17") as worker:                  # one that may be killed
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from avikam.engine.interface import Engine
from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS
from avikam.protocol.rpc_errors import from_trailers
from avikam.v1 import generation_pb2, worker_pb2, worker_pb2_grpc
from avikam.worker.engines import build_engine
from avikam.worker.server import WorkerServer
from avikam.worker.settings import WorkerSettings

LOOPBACK = "127.0.0.1"
# Seconds after which a test gives up on what should have happened.
PATIENCE = 20.0
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", LIMITS.grpc_message_bytes),
    ("grpc.max_send_message_length", LIMITS.grpc_message_bytes),
    # Each channel has a connection of its own, as each gateway has.
    ("grpc.use_local_subchannel_pool", 1),
)


def fake_settings(**changes: Any) -> WorkerSettings:
    """A worker of the fake engine on free ports, that stops without waiting for anybody."""
    values: dict[str, Any] = {
        "engine": "fake",
        "port": 0,
        "metrics_port": None,
        "drain_accept_seconds": 0.0,
        "drain_seconds": 5.0,
        "log_level": "warning",
    }
    return WorkerSettings(**{**values, **changes})


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker inside the test's own process, and a channel to it."""

    server: WorkerServer
    channel: aio.Channel

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.server.port}"

    @property
    def stub(self) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        return worker_stub(self.channel)

    @property
    def engine(self) -> Engine:
        assert self.server.board.engine is not None
        return self.server.board.engine


@contextlib.asynccontextmanager
async def running_worker(
    build: Callable[[WorkerSettings], Engine] = build_engine, **settings: Any
) -> AsyncIterator[RunningWorker]:
    """A worker that serves while the block runs. ``settings`` are those of the worker."""
    server = WorkerServer(fake_settings(**settings), build)
    await server.start()
    try:
        await server.load()
        async with connected(f"{LOOPBACK}:{server.port}") as channel:
            yield RunningWorker(server, channel)
    finally:
        await server.stop()


@dataclass(slots=True)
class WorkerProcess:
    """A worker in a process of its own."""

    process: Process
    address: str
    channel: aio.Channel
    log: list[str]

    @property
    def stub(self) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        return worker_stub(self.channel)

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait for the end."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@contextlib.asynccontextmanager
async def worker_process(port: int = 0, **settings: Any) -> AsyncIterator[WorkerProcess]:
    """``avikam worker --engine fake`` as a process, ready to serve; killed after the block."""
    chosen = fake_settings(port=port or free_port(), **settings)
    process = await start_process(chosen)
    address, log = f"{LOOPBACK}:{chosen.port}", list[str]()
    reading = asyncio.create_task(_read_log(process, log))
    try:
        async with connected(address) as channel:
            worker = WorkerProcess(process, address, channel, log)
            await _wait_until_ready(worker)
            yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def start_process(settings: WorkerSettings) -> Process:
    """A worker's process as the command line runs it, with its standard error to read."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, settings.model_dump_json(), stderr=PIPE
    )


_RUN = """
import sys
from avikam.worker.server import run
from avikam.worker.settings import WorkerSettings
sys.exit(run(WorkerSettings.model_validate_json(sys.argv[1])))
"""


async def _read_log(process: Process, lines: list[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        lines.append(line.decode(errors="replace").rstrip())


async def _wait_until_ready(worker: WorkerProcess) -> None:
    async with asyncio.timeout(PATIENCE):
        while worker.process.returncode is None:
            with contextlib.suppress(aio.AioRpcError):
                async for status in worker.stub.WatchStatus(worker_pb2.WatchStatusRequest()):
                    if status.state == worker_pb2.WORKER_STATE_READY:
                        return
            await asyncio.sleep(0.02)
    raise AssertionError(f"the worker ended while starting: {worker.log}")


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[aio.Channel]:
    """A channel that may carry the largest messages."""
    async with aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield channel


def worker_stub(channel: aio.Channel) -> worker_pb2_grpc.WorkerServiceAsyncStub:
    """A stub with asyncio's types."""
    return worker_pb2_grpc.WorkerServiceStub(channel)


def sequence_request(
    prompt: str = "Bonjour",
    *,
    generated: list[int] | None = None,
    request_id: str = "test",
    attempt: int = 1,
    **sampling: Any,
) -> worker_pb2.SequenceRequest:
    """A request for one sequence; further names are sampling fields."""
    return worker_pb2.SequenceRequest(
        request_id=request_id,
        attempt=attempt,
        prompt=generation_pb2.Prompt(text=prompt),
        sampling=generation_pb2.SamplingParams(**sampling),
        generated=generated or [],
    )


@dataclass(slots=True)
class Answer:
    """All that a stream said, in order."""

    frames: list[worker_pb2.SequenceFrame] = field(default_factory=list)

    @property
    def accepted(self) -> worker_pb2.Accepted:
        return self.frames[0].accepted

    @property
    def finish(self) -> worker_pb2.Finish:
        return self.frames[-1].finish

    @property
    def tokens(self) -> list[int]:
        return [token for frame in self.frames for token in frame.token_ids]

    @property
    def text(self) -> str:
        return "".join(frame.text for frame in self.frames)

    @property
    def heartbeats(self) -> list[worker_pb2.SequenceFrame]:
        return [
            frame
            for frame in self.frames
            if not (frame.token_ids or frame.HasField("accepted") or frame.HasField("finish"))
        ]


class OpenStream:
    """A stream that is read step by step, as far as a test wants to."""

    def __init__(
        self,
        stub: worker_pb2_grpc.WorkerServiceAsyncStub,
        request: worker_pb2.SequenceRequest,
        deadline: float = PATIENCE,
    ) -> None:
        self.answer = Answer()
        self._call = stub.Generate(request, timeout=deadline)

    async def until(self, enough: Callable[[Answer], object]) -> Answer:
        """Read frames until the answer is ``enough``; fails when the stream ends before."""
        while not enough(self.answer):
            frame = await self._call.read()
            assert frame is not aio.EOF, "the stream ended too early"
            self.answer.frames.append(frame)
        return self.answer

    async def rest(self) -> Answer:
        """Read to the end; raises the stream's ``AioRpcError``."""
        while (frame := await self._call.read()) is not aio.EOF:
            self.answer.frames.append(frame)
        return self.answer

    def cancel(self) -> None:
        """Go away."""
        self._call.cancel()


async def generate(
    stub: worker_pb2_grpc.WorkerServiceAsyncStub,
    prompt: str | worker_pb2.SequenceRequest = "Bonjour",
    **sampling: Any,
) -> Answer:
    """Run one sequence to its end; raises the stream's ``AioRpcError``."""
    request = sequence_request(prompt, **sampling) if isinstance(prompt, str) else prompt
    return await OpenStream(stub, request).rest()


def api_error(error: aio.AioRpcError) -> ApiError:
    """The worker's own error behind a gRPC one."""
    found = from_trailers(error.details() or "", _pairs(error))
    assert found is not None, f"no avikam trailers: {error!r}"
    return found


def trailer(error: aio.AioRpcError, name: str) -> str | None:
    """One trailing metadata value."""
    return next((str(value) for key, value in _pairs(error) if key == name), None)


def _pairs(error: aio.AioRpcError) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in error.trailing_metadata()]


async def eventually(holds: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait until ``holds``; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.01)
