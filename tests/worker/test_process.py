"""A worker that cannot start, or whose engine dies: one clear line, and the right exit code."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import grpc
import pytest
from grpc import aio

from avikam.engine.interface import Engine
from avikam.worker.server import StartError, WorkerServer
from avikam.worker.settings import WorkerSettings
from tests.worker.harness import (
    LOOPBACK,
    OpenStream,
    fake_settings,
    running_worker,
    sequence_request,
    start_process,
    trailer,
    worker_process,
)


async def failed_start(settings: WorkerSettings) -> tuple[int, str]:
    """Exit code and standard error of a worker that does not come up."""
    process = await start_process(settings)
    _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_a_busy_port_is_one_line_and_exit_code_2() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = await failed_start(fake_settings(port=port))

    assert code == 2
    address = f"127.0.0.1:{port}"
    assert errors == f"error: the worker cannot listen on {address}: Address already in use\n"


async def test_a_second_worker_does_not_share_the_port() -> None:
    async with running_worker() as worker:
        with pytest.raises(StartError, match="Address already in use"):
            await WorkerServer(fake_settings(port=worker.server.port)).start()


async def test_a_busy_metrics_port_is_one_line_and_exit_code_2() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = await failed_start(fake_settings(metrics_port=port))

    assert code == 2
    assert errors.count("\n") == 1
    assert f"cannot serve metrics on 127.0.0.1:{port}" in errors


async def test_a_missing_checkpoint_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    settings = fake_settings(engine="real", model=tmp_path / "nothing")
    code, errors = await failed_start(settings)

    assert code == 2
    assert errors.count("\n") == 1
    assert errors.startswith("error: the worker cannot load the engine: ")
    assert "nothing" in errors


async def test_an_unreadable_plan_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="known names are ttft"):
        fake_settings(plan="explode@3")


async def test_a_signal_while_the_model_loads_ends_the_worker() -> None:
    async with worker_process() as worker:
        worker.send(signal.SIGTERM)
        assert await worker.exit_code() == 0


async def test_a_dead_engine_ends_the_worker_and_hands_its_streams_over() -> None:
    async with worker_process(plan="crash@3#1") as worker:
        stream = OpenStream(worker.stub, sequence_request(max_tokens=50, seed=1))
        with pytest.raises(aio.AioRpcError) as handed_over:
            await stream.rest()

        assert handed_over.value.code() == grpc.StatusCode.UNAVAILABLE
        assert trailer(handed_over.value, "x-migrate") == "1"
        assert len(stream.answer.tokens) == 3
        assert await asyncio.wait_for(worker.process.wait(), 2) == 1
        assert any("the engine has died" in line for line in worker.log)


async def test_an_engine_that_cannot_be_built_stops_the_start() -> None:
    def broken(settings: WorkerSettings) -> Engine:
        raise ValueError("config.json\nis not a model config")

    server = WorkerServer(fake_settings(), broken)
    await server.start()
    with pytest.raises(StartError, match=r"cannot load the engine: config\.json is not a model"):
        await server.load()
    await server.stop()
