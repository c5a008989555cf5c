"""Gateway, workers of the fake engine and the echo, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtests.gateway.connection import Connection

HOST = "127.0.0.1"
_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves HTTP, and the key that it wants."""

    port: int
    process: psutil.Process
    key: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return HOST, self.port

    def cpu_seconds(self) -> float:
        """What the process has used so far, in user and in system."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.asynccontextmanager
async def gateway(
    plan: str, workers: int, slots: int, queue: int, **settings: object
) -> AsyncIterator[Server]:
    """A gateway with a key file, in front of ready workers; ``settings`` are its own flags."""
    ports = [_free_port() for _ in range(workers)]
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        keys = Path(folder) / "keys.yaml"
        key = _avikam_output("keys", "add", "bench", "--tenant", "bench", "--file", str(keys))
        for each in ports:
            running.enter_context(_avikam(*_worker_flags(each, plan, slots, queue)))
        addresses = ",".join(f"{HOST}:{each}" for each in ports)
        flags = ("gateway", "--http-port", port, "--workers", addresses, "--keys", keys)
        process = running.enter_context(
            _avikam(
                *(*flags, "--log-level", "warning", "--drain-notice-seconds", 0),
                *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items()),
            )
        )
        await _answers(port, "/readyz")
        yield Server(port, psutil.Process(process.pid), key)


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[Server]:
    """A bare FastAPI application that asks a bare grpc.aio server."""
    port, behind = _free_port(), _free_port()
    module = "loadtests.gateway.echo"
    with (
        _python("-m", module, "grpc", behind),
        _python("-m", module, "http", port, behind) as process,
    ):
        await _answers(port, "/ready")
        yield Server(port, psutil.Process(process.pid))


def _worker_flags(port: int, plan: str, slots: int, queue: int) -> tuple[object, ...]:
    return (
        *("worker", "--engine", "fake", "--port", port, "--plan", plan, "--metrics-port", "none"),
        *("--slots", slots, "--queue-requests", queue, "--log-level", "warning"),
    )


def _avikam(*flags: object) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return _python("-m", "avikam", *flags)


def _avikam_output(*flags: str) -> str:
    command = [sys.executable, "-m", "avikam", *flags]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=_environment()
    ).stdout.strip()


@contextlib.contextmanager
def _python(*flags: object) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, *map(str, flags)]
    process = subprocess.Popen(command, env=_environment())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'services'}"}


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


async def _answers(port: int, path: str) -> None:
    """Until the path answers 200."""
    request = f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
    async with asyncio.timeout(_PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                connection = await Connection.open(HOST, port)
                ready = (await connection.ask(request)).status == 200
                connection.close()
                if ready:
                    return
            await asyncio.sleep(0.1)
