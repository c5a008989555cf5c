"""Gateways and workers as processes of their own, to be killed, frozen, drained and started again.

Each is started by the program's own command line and ends with the process that started it, even
when that one is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.worker.harness import LOOPBACK, free_port

START_SECONDS = 60.0


class Service:
    """One ``avikam gateway`` or ``avikam worker``; it keeps its port over restarts."""

    def __init__(
        self,
        name: str,
        flags: Mapping[str, object],
        folder: Path,
        launcher: Sequence[str] = ("-m", "avikam"),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.starts = 0
        self.flags = dict(flags)
        self._log = folder / f"{name}-{os.urandom(4).hex()}.log"
        self._launcher = launcher
        self._environ = {**os.environ, **(environ or {})}
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process, which must have been started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it runs, be it frozen."""
        return self._process is not None and self._process.returncode is None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def start(self) -> None:
        """Start it; it is not ready yet."""
        service = self.name.partition("-")[0]
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in self.flags.items()]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._launcher,
                service,
                "--lifeline",
                *flags,
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=log,
                env=self._environ,
            )
        self.starts += 1

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is still there."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for the end; its exit status."""
        return await self.process.wait()

    async def end(self) -> None:
        """Kill it and wait, whatever state it is in."""
        if self._process is not None:
            self.kill()
            await self._process.wait()

    def usage(self) -> psutil.Process:
        """Its memory and descriptors."""
        return psutil.Process(self.process.pid)


class WorkerService(Service):
    """A worker; of the fake engine unless told otherwise."""

    def __init__(
        self,
        number: int,
        folder: Path,
        flags: Mapping[str, object],
        launcher: Sequence[str] = ("-m", "avikam"),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        values = {
            "engine": "fake",
            "port": self.port,
            "metrics_port": "off",
            "drain_accept_seconds": 1,
            "drain_seconds": 3,
            "log_level": "warning",
            **flags,
        }
        super().__init__(f"worker-{number}", values, folder, launcher, environ)

    @property
    def address(self) -> str:
        """Where gateways reach it."""
        return f"{LOOPBACK}:{self.port}"

    async def ready(self) -> None:
        """Until it would serve."""
        async with asyncio.timeout(START_SECONDS):
            while not await _serving(self.address):
                await asyncio.sleep(0.05)


class GatewayService(Service):
    """A gateway before some worker addresses."""

    def __init__(
        self,
        number: int,
        folder: Path,
        workers: Sequence[str],
        flags: Mapping[str, object],
        launcher: Sequence[str] = ("-m", "avikam"),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        values = {
            "http_port": self.port,
            "workers": ",".join(workers),
            "drain_notice_seconds": 1,
            "log_level": "warning",
            **flags,
        }
        super().__init__(f"gateway-{number}", values, folder, launcher, environ)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://{LOOPBACK}:{self.port}"


async def _serving(address: str) -> bool:
    """Whether a worker's health says that it would serve."""
    async with grpc.aio.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
